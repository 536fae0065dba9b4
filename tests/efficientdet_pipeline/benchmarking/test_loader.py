"""Loader benchmark: its stages are those of training."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from efficientdet_pipeline.augment.sample import Sample
from efficientdet_pipeline.benchmarking import loader
from efficientdet_pipeline.data.input_pipeline import Augmenter, InputConfig


def draw(photo: Sample, partners: Sequence[Callable[[], Sample]], seed: tf.Tensor) -> Any:
    del partners, seed
    return photo.image, (24, 32), photo.boxes, photo.class_ids


def test_loader_every_stage_is_measured_and_records_are_skipped_without_reading(
    write_shards: Callable, image: Callable, box_of: Callable
) -> None:
    files = write_shards([image(number, [box_of(1)]) for number in range(5)])
    stream = InputConfig(files=files, batch_size=2, max_instances=1, canvas=(24, 32), seed=1)
    augmenter = Augmenter(draw, lambda canvases, shown: tf.cast(canvases, tf.float32))
    pipelines = {"alone": loader.decode_only(stream), **loader.stages(stream, augmenter)}
    assert [*pipelines] == ["alone", "order", "reading", "parsing and decoding", "varying", loader.FULL_PIPELINE]
    speeds = loader.measure_stages(pipelines, "alone", batch_size=2, batches=3, rounds=2)
    assert speeds.keys() == pipelines.keys()
    assert speeds["alone"].ratio == speeds["alone"].cpu_ratio == 1.0
    assert all(each.images_per_second > 0 and each.cpu_ms >= 0 for each in speeds.values())
    assert loader.records_skipped_per_second(stream) > 20_000


def test_loader_images_of_many_sizes_are_decoded_too(write_shards: Callable, image: Callable) -> None:
    import dataclasses

    import cv2
    import numpy as np

    large = cv2.imencode(".png", np.zeros((50, 60, 3), np.uint8))[1].tobytes()
    files = write_shards([image(1), dataclasses.replace(image(2), height=50, width=60, encoded=large)])
    stream = InputConfig(files=files, batch_size=2, max_instances=1, canvas=(24, 32), seed=1)
    assert next(iter(loader.decode_only(stream))).shape == (2,)
