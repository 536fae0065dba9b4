"""Records as network inputs: pixels, boxes, and the options used."""

import io
from typing import Any

import efficientdet
import numpy as np
import pytest
from efficientdet.config import DetectorConfig
from PIL import Image

from efficientdet_pipeline.data.input_pipeline import build_augmenter
from efficientdet_pipeline.inspection.samples import augmentation, samples
from efficientdet_pipeline.inspection.shard_reader import RecordLocation
from efficientdet_pipeline.options.augmentation import AugmentationOptions
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import scan_records, write_records

RED, GREEN = (250, 10, 20), (30, 240, 60)
BOX = (20.0, 10.0, 50.0, 60.0)


@pytest.fixture(scope="module")
def config() -> DetectorConfig:
    return efficientdet.get_config("efficientdet-d0", image_size=128, num_classes=2)


@pytest.fixture(scope="module")
def locations(tmp_path_factory: pytest.TempPathFactory) -> list[RecordLocation]:
    """Returns the locations of twelve records: a red box on a green image of 64x128, and a crowd around it."""
    photo = np.full((64, 128, 3), GREEN, np.uint8)
    photo[20:50, 10:60] = RED
    content = io.BytesIO()
    Image.fromarray(photo).save(content, "PNG")
    things = AnnotatedObject("cat", BOX, 1), AnnotatedObject("cat", (0, 0, 64, 128), 2, is_crowd=True)
    path = tmp_path_factory.mktemp("shards") / "train.tfrecord"
    encoded = {"height": 64, "width": 128, "encoded": content.getvalue(), "objects": things}
    write_records(path, [encode_example(AnnotatedImage(filename=f"{n}.png", **encoded)) for n in range(12)])
    return [
        RecordLocation(path, number, found.offset, len(found.data)) for number, found in enumerate(scan_records(path))
    ]


def look(
    locations: list[RecordLocation], config: DetectorConfig, options: AugmentationOptions | None, **more: Any
) -> list:
    augmenter = None if options is None else build_augmenter(options, config)
    asked = {"seed": 1, "skip_crowd": False, **more}
    count = asked.pop("count", 3)
    return list(samples(locations, count, config, augmenter, **asked))


def test_samples_evaluation_sees_the_image_as_it_is(locations: list[RecordLocation], config: DetectorConfig) -> None:
    record, sample = look(locations, config, None, count=1)[0]
    assert record.boxes[0] == pytest.approx(BOX, abs=1e-4)
    assert record.crowd == {1}
    # 64x128 fits 128x128 as it is; below it the canvas has the mean colour.
    assert sample.boxes[0] == pytest.approx(BOX, abs=1e-3)
    assert sample.image[30, 30].tolist() == list(RED)
    assert sample.image[5, 100].tolist() == list(GREEN)
    assert sample.image[100, 100] == pytest.approx(config.mean_rgb, abs=1)


def test_samples_inputs_from_minus_one_to_one_are_turned_back_too(locations: list[RecordLocation]) -> None:
    config = efficientdet.get_config(
        "efficientdet-d0", image_size=128, num_classes=2, mean_rgb=0.0, stddev_rgb=1.0, scale_range=True
    )
    _, sample = look(locations, config, None, count=1)[0]
    assert sample.image[30, 30].tolist() == list(RED)


def test_samples_boxes_stay_on_their_objects_when_images_vary(
    locations: list[RecordLocation], config: DetectorConfig
) -> None:
    for _, sample in look(locations, config, AugmentationOptions(), count=6, skip_crowd=True):
        ((y0, x0, y1, x1),) = sample.boxes
        inside = sample.image[round(y0) + 2 : round(y1) - 2, round(x0) + 2 : round(x1) - 2]
        assert inside.size
        assert np.abs(inside.astype(int) - RED).max() < 12
        red = (np.abs(sample.image.astype(int) - RED) < 60).all(axis=-1).sum()
        assert red == pytest.approx((y1 - y0) * (x1 - x0), rel=0.15)


def test_samples_crowds_are_left_out_where_training_leaves_them_out(
    locations: list[RecordLocation], config: DetectorConfig
) -> None:
    options = AugmentationOptions(augment=False)
    with_crowd, without = (look(locations, config, options, count=1, skip_crowd=skip)[0][1] for skip in (False, True))
    assert sorted(with_crowd.class_ids) == [1, 2]
    assert list(without.class_ids) == [1]


def test_samples_same_seed_draws_the_same_samples(locations: list[RecordLocation], config: DetectorConfig) -> None:
    options = AugmentationOptions(hsv_hue=0.3)
    first, again, other = (look(locations, config, options, seed=seed) for seed in (1, 1, 2))
    for (_, one), (_, same), (_, different) in zip(first, again, other, strict=True):
        assert (one.image == same.image).all()
        assert (one.image != different.image).any()


def test_samples_mosaic_has_the_boxes_of_its_partners(locations: list[RecordLocation], config: DetectorConfig) -> None:
    options = AugmentationOptions(mosaic=1.0, jitter_min=1.0, jitter_max=1.0, input_rand_hflip=False)
    assert max(len(sample.boxes) for _, sample in look(locations, config, options, skip_crowd=True)) > 1


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0]), (3, [0, 4, 8]), (5, [0, 2, 4, 7, 9]), (12, list(range(12))), (99, list(range(12)))],
)
def test_samples_records_are_taken_in_even_steps(
    count: int, expected: list[int], locations: list[RecordLocation], config: DetectorConfig
) -> None:
    found = look(locations, config, None, count=count)
    assert [record.caption.partition(" ")[0] for record, _ in found] == [f"{number}.png" for number in expected]


def test_samples_of_no_records_nothing_is_drawn(config: DetectorConfig) -> None:
    assert look([], config, AugmentationOptions()) == []


@pytest.mark.parametrize(
    ("given", "used", "expected"),
    [
        ({}, {}, {"mosaic": 0.0, "jitter_max": 1.4}),
        ({}, {"mosaic": 0.5, "url_dataset": "a.zip", "an_option_of_long_ago": 1}, {"mosaic": 0.5}),
        ({"mosaic": 0.0}, {"mosaic": 0.5, "mixup": 0.3}, {"mosaic": 0.0, "mixup": 0.3}),
        ({"augment_recipe": "flip"}, {"mosaic": 0.5}, {"mosaic": 0.0}),
    ],
)
def test_samples_what_is_given_takes_precedence_over_what_the_run_does(
    given: dict[str, Any], used: dict[str, Any], expected: dict[str, Any]
) -> None:
    options = augmentation(AugmentationOptions(**given), used, given.keys())
    assert {name: getattr(options, name) for name in expected} == expected
