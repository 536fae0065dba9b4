"""Gallery images."""

import io

import numpy as np
from PIL import Image

from efficientdet_pipeline.evaluation.analysis import Analysis, analyse
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.report.gallery import (
    BEST,
    FALSE_POSITIVES,
    MISSES,
    gallery,
    select_images,
    small_jpeg,
    tags_of,
)

BOX, FAR = [0.0, 0, 20, 20], [50.0, 50, 80, 90]


def simple() -> Analysis:
    """Returns one correct image, one with a missed object, one with a false positive."""
    boxes = np.array([BOX, FAR])
    truth = [TruthImage(name, boxes, np.array([1, 2])) for name in ("0", "1", "2")]
    detected = [
        ImageDetections(boxes, np.array([0.9, 0.8]), np.array([1, 2]), source_id="0"),
        ImageDetections(boxes[:1], np.array([0.9]), np.array([1]), source_id="1"),
        ImageDetections(
            np.array([BOX, FAR, [0.0, 60, 9, 90]]), np.array([0.9, 0.8, 0.95]), np.array([1, 2, 2]), source_id="2"
        ),
    ]
    return analyse(flatten(truth, detected, {}), {1: "cat", 2: "dog"}, threshold=0.5, num_draws=5)


def pixels(source_id: str) -> np.ndarray | None:
    return np.full((100, 100, 3), 40, np.uint8) if source_id != "2" else None


def test_select_images_puts_each_into_its_groups() -> None:
    chosen = select_images(simple(), per_group=1)
    assert MISSES in chosen[1]
    assert FALSE_POSITIVES in chosen[2]
    assert BEST in chosen[0]
    assert list(chosen)[:3] == [1, 2, 0]


def test_gallery_draws_what_became_of_each_box() -> None:
    images = gallery(simple(), pixels, file_names={"1": "one.jpg"})
    # The unreadable image is left out.
    assert sorted(image.name for image in images) == ["0", "one.jpg"]
    missed = next(image for image in images if image.name == "one.jpg")
    assert [(box.class_name, box.state, box.kind) for box in missed.boxes] == [
        ("cat", "found", ""),
        ("dog", "missed", "missed"),
        ("cat", "right", ""),
    ]
    assert missed.boxes[2].score == 0.9
    alarmed = gallery(simple(), lambda name: np.zeros((100, 100, 3), np.uint8))
    wrong = [box for image in alarmed for box in image.boxes if box.state == "wrong"]
    assert [(box.kind, box.box) for box in wrong] == [("background", (0, 60, 9, 90))]
    assert tags_of(alarmed)[1:] == (["cat", "dog"], ["background", "missed"])


def test_small_jpeg_meets_its_size() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 900, 3), np.uint8)
    content = small_jpeg(noise, 60_000)
    assert len(content) <= 60_000
    assert 320 <= Image.open(io.BytesIO(content)).size[0] < 900
    assert Image.open(io.BytesIO(small_jpeg(noise, 1))).size == (320, 213)
    assert Image.open(io.BytesIO(small_jpeg(noise, 10**7))).size == (900, 600)


def test_gallery_takes_what_is_empty() -> None:
    empty = analyse(flatten([], [], {1: "cat"}), {1: "cat"}, num_draws=5)
    assert gallery(empty, pixels) == []
    nothing = analyse(flatten([TruthImage("0", np.array([BOX]), np.array([1]))], [], {}), {1: "cat"}, num_draws=5)
    assert [box.state for image in gallery(nothing, pixels) for box in image.boxes] == ["missed"]
