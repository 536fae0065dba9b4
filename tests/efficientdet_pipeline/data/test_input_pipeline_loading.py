"""Input pipeline from options: a resumed run gets the same images; balance and cache keep the order; logs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import efficientdet
import numpy as np
import pytest

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.input_pipeline import (
    build_augmenter,
    close_mosaic_step,
    open_input_config,
    training_batches,
)
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import write_records

CONFIG = efficientdet.get_config("efficientdet-d0", image_size=64, num_classes=3)
COUNT = 7


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Returns seven images of different sizes, image n with n boxes; class 2 only on the last one."""
    random = np.random.RandomState(0)

    def photo(number: int) -> AnnotatedImage:
        height, width = 40 + 4 * number, 60
        pixels = cv2.imencode(".png", random.randint(0, 255, (height, width, 3)).astype(np.uint8))[1].tobytes()
        objects = tuple(
            AnnotatedObject(name="x", box=(2.0 * k, 3.0 * k, 2.0 * k + 20, 3.0 * k + 25), class_id=1 + (number == 6))
            for k in range(number)
        )
        return AnnotatedImage(
            filename=f"{number}.png", objects=objects, height=height, width=width, encoded=pixels, format="png",
            source_id=str(number),
        )  # fmt: skip

    path = tmp_path_factory.mktemp("shards") / "train-00000-of-00001.tfrecord"
    write_records(path, (encode_example(photo(number)) for number in range(COUNT)))
    return Shards(
        train=(str(path),), val=(), num_train=COUNT, num_classes=2, label_map={1: "x", 2: "y"}, max_instances=6
    )


def options(**given: Any) -> TrainOptions:
    return compose(TrainOptions, **{"url_dataset": "demo", "batch_size": 2, "tf_random_seed": 3, **given})


def batches(shards: Shards, folder: Path, count: int, *, position: int = 0, **given: Any) -> list[Any]:
    chosen = options(**given)
    with open_input_config(chosen, shards, CONFIG.image_size, folder) as stream:
        dataset = training_batches(stream, build_augmenter(chosen.augmentation, CONFIG), position=position)
        return [(images.numpy(), truth.boxes.numpy(), truth.class_ids.numpy()) for images, truth in dataset.take(count)]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Returns a function that returns all log messages."""
    caplog.set_level("INFO", logger="absl")
    return lambda: caplog.text


MIXED = {"mosaic": 0.6, "mixup": 0.3, "copy_paste": 0.5, "class_balance": 0.5}


def test_input_pipeline_continued_run_sees_the_images_that_would_have_come(shards: Shards, tmp_path: Path) -> None:
    whole = batches(shards, tmp_path, 8, **MIXED)
    rest = batches(shards, tmp_path, 3, position=10, **MIXED)
    for batch, expected in zip(rest, whole[5:], strict=True):
        for got, wanted in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_input_pipeline_cached_images_make_the_same_images(cache: str, shards: Shards, tmp_path: Path) -> None:
    for batch, expected in zip(
        batches(shards, tmp_path / "c", 4, cache=cache, **MIXED), batches(shards, tmp_path, 4, **MIXED), strict=True
    ):
        np.testing.assert_array_equal(batch[0], expected[0])
    assert not (tmp_path / "c").exists()


def test_input_pipeline_images_are_normalised_and_boxes_padded(shards: Shards, tmp_path: Path) -> None:
    images, boxes, class_ids = batches(shards, tmp_path, 1, augment=False)[0]
    assert (images.shape, boxes.shape, class_ids.shape) == ((2, 64, 64, 3), (2, 6, 4), (2, 6))
    assert images.dtype == np.float32
    assert -2.2 < images.min() < 0 < images.max() < 2.7
    assert (images == 0).all(axis=(2, 3)).any() or (images == 0).all(axis=(1, 3)).any()  # padding is the mean colour
    assert set(class_ids.reshape(-1)) <= {-1, 1, 2}


def test_input_pipeline_mixed_images_may_have_more_boxes(shards: Shards, tmp_path: Path) -> None:
    assert batches(shards, tmp_path, 1, mosaic=0.5)[0][1].shape == (2, 12, 4)


def test_input_pipeline_rare_classes_come_more_often(shards: Shards, tmp_path: Path, told: Any) -> None:
    def share(**given: Any) -> float:
        found = [ids for _, _, ids in batches(shards, tmp_path, 14, augment=False, **given)]
        return float(np.mean([(ids == 2).any(axis=1) for ids in found]))

    assert share(class_balance=1.0) > 1.5 * share()
    assert "class_balance=1: images of the rarest class are drawn" in told()


def test_input_pipeline_boxes_that_are_cut_are_logged_once(shards: Shards, tmp_path: Path, told: Any) -> None:
    batches(shards, tmp_path, 1, max_instances_per_image=4)
    # Images 5 and 6 have one and two more.
    expected = (
        "max_instances_per_image is 4, but an image has up to 6 boxes: the smallest 3 boxes of 2 images are not used"
    )
    assert told().count(expected) == 1


def test_input_pipeline_more_than_there_is_room_for_is_refused(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("efficientdet_pipeline.data.image_cache.free_bytes", lambda kind, folder: 1000)
    with pytest.raises(OptionsError, match=r"cache=memory needs 0\.0 GB .*try --cache=disk, or --cache=none"):
        batches(shards, tmp_path, 1, cache="memory")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"augment": False, "mosaic": 0.5}, "--noaugment disables all augmentation"),
        ({"close_mosaic": 3}, "close_mosaic has no effect without mosaic"),
        ({"close_mosaic": 50, "mixup": 0.1}, "close_mosaic=50 is not below num_epochs=50: mixup are never applied"),
        ({"randaug_magnitude": 3.0}, "randaug_magnitude has no effect"),
    ],
)
def test_input_pipeline_options_in_vain_are_logged(
    given: dict[str, Any], sentence: str, shards: Shards, tmp_path: Path, told: Any
) -> None:
    with open_input_config(options(**given), shards, CONFIG.image_size, tmp_path):
        assert sentence in told()


def test_input_pipeline_mixing_ends_before_the_last_epochs() -> None:
    assert close_mosaic_step(options(mosaic=0.5).augmentation, num_epochs=10, samples_per_epoch=6) is None
    assert close_mosaic_step(options(mosaic=0.5, close_mosaic=3).augmentation, num_epochs=10, samples_per_epoch=6) == 42
    assert close_mosaic_step(options(mosaic=0.5, close_mosaic=30).augmentation, num_epochs=10, samples_per_epoch=6) == 0
