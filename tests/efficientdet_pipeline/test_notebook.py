"""Notebook functions show the content of data and networks."""

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from efficientdet.anchors import anchor_boxes
from efficientdet.assigners import assign_targets
from efficientdet.boxes import encode_boxes
from efficientdet.config import get_config
from efficientdet.types import GroundTruth

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.notebook import (
    assign_anchors,
    boxes_in_pixels,
    canvas_image,
    decode_predictions,
    draw_bboxes,
    get_anchors,
    show_anchor_assignment,
    show_batch_sample,
    show_image_with_bboxes,
)

CONFIG = get_config("efficientdet-d0", image_size=128, num_classes=3)
BOXES = np.array([[10, 20, 50, 70], [60, 30, 120, 110], [-1, -1, -1, -1]], np.float32)
CLASS_IDS = np.array([1, 3, -1], np.int32)
IMAGE = np.full((128, 128, 3), 90, np.uint8)


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


def batch() -> tuple[np.ndarray, GroundTruth]:
    normalized = (IMAGE.astype(np.float32) - np.float32(CONFIG.mean_rgb)) / np.float32(CONFIG.stddev_rgb)
    return np.stack([normalized] * 3), GroundTruth(np.stack([BOXES] * 3), np.stack([CLASS_IDS] * 3))


@pytest.mark.parametrize(
    ("shape", "levels", "count"),
    [
        ((512, 512), (3, 7), 49_104),
        ((768, 768), (3, 7), 110_484),
        ((176, 228), (3, 7), 7_803),
        ((256, 256), (3, 7), 12_276),
    ],
)
def test_get_anchors_has_the_published_numbers(shape: tuple[int, int], levels: tuple[int, int], count: int) -> None:
    assert get_anchors(shape, levels).shape == (count, 4)


def test_get_anchors_are_the_networks_and_zero_start_moves_half_a_stride() -> None:
    found = get_anchors((128, 128), aspect_ratios=CONFIG.aspect_ratios, anchor_scale=4.0)
    np.testing.assert_allclose(found * 128, anchor_boxes(CONFIG), atol=1e-3)
    plain, moved = (get_anchors((64, 64), (3, 5), (1.0,), 1, 1.0, grid_zero_start=start) for start in (False, True))
    assert len(moved) == 64 + 16 + 4
    np.testing.assert_allclose((plain - moved)[0] * 64, 4, atol=1e-5)
    np.testing.assert_allclose((plain - moved)[-1] * 64, 16, atol=1e-5)
    np.testing.assert_allclose(moved[0] * 64, [-4, -4, 4, 4], atol=1e-5)


def test_boxes_in_pixels_of_every_format() -> None:
    expected = [[10.0, 40.0, 50.0, 80.0]]
    for values, name in (
        ([[0.1, 0.2, 0.5, 0.4]], "yxyx_unit"),
        ([[0.2, 0.1, 0.4, 0.5]], "xyxy_unit"),
        (expected, "yxyx"),
        ([[40, 10, 80, 50]], "xyxy"),
    ):
        np.testing.assert_allclose(boxes_in_pixels(values, (100, 200), name), expected)
    assert boxes_in_pixels([], (1, 1), "yxyx").shape == (0, 4)
    with pytest.raises(OptionsError, match="for boxes in pixels use bbox_format=yxyx"):
        boxes_in_pixels(expected, (100, 200), "yxyx_unit")
    with pytest.raises(OptionsError, match="bbox_format must be one of"):
        boxes_in_pixels(expected, (100, 200), "cxcywh")
    with pytest.raises(OptionsError, match=r"must be \(n, 4\)"):
        boxes_in_pixels([1, 2, 3, 4], (100, 200), "yxyx")


def test_show_image_with_bboxes_draws_boxes_and_masks() -> None:
    masks = np.zeros((3, 128, 128))
    masks[1, 100:110, 50:60] = 1
    axes = show_image_with_bboxes(
        IMAGE, BOXES, CLASS_IDS, [0.9, 0.8, 0.0], masks, bbox_format="yxyx", indices_2_labels={1: "cat"}
    )
    picture = axes.get_images()[0].get_array()
    assert (picture[10, 40:60] != 90).any()
    assert (picture[105, 55] != 90).any()
    assert (picture[105, 65] == 90).all()
    assert (IMAGE == 90).all()
    same = plt.subplots()[1]
    assert show_image_with_bboxes(IMAGE, BOXES[:2] / 128, ax=same) is same
    with pytest.raises(
        OptionsError, match="labels must be one for each of the 3 boxes. Received 1".replace(".", r"\.")
    ):
        show_image_with_bboxes(IMAGE, BOXES, [1], bbox_format="yxyx")


def test_show_batch_sample_writes_names_in_the_given_size() -> None:
    small, large = (
        show_batch_sample(batch(), CONFIG, max_images=1, indices_2_labels={1: "cat", 3: "dog"}, label_font_size=size)
        for size in (6, 24)
    )
    assert (large != 90).sum() > 1.3 * (small != 90).sum()


def test_draw_bboxes_adds_a_rectangle_a_box() -> None:
    axes = plt.subplots()[1]
    with pytest.raises(OptionsError, match="these axes show none"):
        draw_bboxes(BOXES[:1] / 128, axes, bbox_format="yxyx_unit")
    axes.imshow(IMAGE)
    draw_bboxes(BOXES[:2] / 128, axes, bbox_format="yxyx_unit")
    [first, _] = axes.patches
    assert (first.get_x(), first.get_y(), first.get_width(), first.get_height()) == pytest.approx((19.5, 9.5, 50, 40))


def test_canvas_image_undoes_normalization() -> None:
    np.testing.assert_array_equal(canvas_image(batch()[0][0], CONFIG), IMAGE)
    advprop = get_config("efficientdet-d0", mean_rgb=0.0, stddev_rgb=1.0, scale_range=True)
    np.testing.assert_array_equal(canvas_image(IMAGE * np.float32(2 / 255) - 1, advprop), IMAGE)


def test_show_batch_sample_of_truth_and_of_targets_is_alike() -> None:
    images, truth = batch()
    sheet = show_batch_sample((images, truth), CONFIG, rows=1, max_images=2, indices_2_labels={1: "cat"})
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > 2 * 128 > sheet.shape[0]
    targets = assign_targets(anchor_boxes(CONFIG), truth)
    again = show_batch_sample((images, targets), CONFIG, rows=1, max_images=2, indices_2_labels={1: "cat"})
    assert again.shape == sheet.shape
    assert (again != sheet).mean() < 0.02


def test_assign_anchors_decodes_to_the_boxes() -> None:
    found = assign_anchors(BOXES, CLASS_IDS, CONFIG)
    assert found.num_anchors == len(anchor_boxes(CONFIG))
    assert set(found.class_ids) == {1, 3}
    for box, class_id in zip(found.decoded, found.class_ids, strict=True):
        np.testing.assert_allclose(box, BOXES[0 if class_id == 1 else 1], atol=1e-2)
    assert not np.allclose(found.anchors, found.decoded)
    sheet = show_anchor_assignment(IMAGE, BOXES, CLASS_IDS, CONFIG)
    assert sheet.shape[1] > 3 * 128


def outputs() -> dict[str, Any]:
    """Returns outputs for one image: on the first box a high class 1 and a lower class 2, a low one beside it."""
    anchors = anchor_boxes(CONFIG)
    logits = np.full((len(anchors), 3), -9.0, np.float32)
    deltas = np.asarray(encode_boxes(np.tile(BOXES[:1], (len(anchors), 1)), anchors))
    logits[0, :2], logits[1, 0] = (2.0, 1.0), 0.0
    levels, start = {"class": {}, "box": {}}, 0
    for level in CONFIG.levels:
        side = -(-128 // 2**level)
        end = start + side * side * 9
        levels["class"][level] = logits[start:end].reshape(1, side, side, 27)
        levels["box"][level] = deltas[start:end].reshape(1, side, side, 36)
        start = end
    return levels


def test_decode_predictions_heeds_its_parameters_and_forgets_them() -> None:
    scores = 1 / (1 + np.exp(-np.array([2.0, 1.0])))
    [found] = decode_predictions(outputs(), CONFIG)
    assert found.class_ids.tolist() == [1]
    np.testing.assert_allclose(found.boxes, BOXES[:1], atol=1e-2)
    [several] = decode_predictions(outputs(), CONFIG, mode="per_class", topk=-1)
    assert several.class_ids.tolist() == [1, 2]
    np.testing.assert_allclose(several.scores, scores, rtol=1e-5)
    [few] = decode_predictions(outputs(), CONFIG, mode="per_class", topk=1)
    assert len(few.boxes) == 1
    [soft] = decode_predictions(outputs(), CONFIG, method="gaussian", score_threshold=0.01)
    # The second box overlaps completely: exp(-1 / sigma) of its score remains.
    assert soft.scores[1] == pytest.approx(0.5 * np.exp(-1 / 0.5), rel=1e-3)
    assert len(decode_predictions(outputs(), CONFIG, score_threshold=0.9)[0].boxes) == 0
    assert (
        len(decode_predictions(outputs(), CONFIG, method="gaussian", score_threshold=0, max_output_size=1)[0].boxes)
        == 1
    )
    assert decode_predictions(outputs(), CONFIG)[0].class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "diou"}, "method must be one of hard, gaussian"),
        ({"mode": "raw"}, "mode must be one of global, per_class"),
        ({"iou_or_sigma": 0.0}, "iou_or_sigma must be above 0"),
        ({"topk": -2}, "topk -1 or more"),
    ],
)
def test_decode_predictions_refuses(options: dict, words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        decode_predictions({}, CONFIG, **options)
