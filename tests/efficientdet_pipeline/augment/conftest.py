"""Marked samples, and a function that runs an augmentation eagerly and inside tf.data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.sample import Sample

HEIGHT, WIDTH = 120, 160
CENTERS = ((25, 30), (60, 80), (95, 40), (30, 130), (90, 125))
"""Centres of the boxes, (y, x); box number i has class i + 1."""
MARKER = 4
"""Half the side of the marker in the centre of each box, which has the class's colour."""


def color_of(class_id: int) -> int:
    return 40 * class_id


@pytest.fixture(scope="session")
def marked() -> Sample:
    """Returns a black image with five boxes; blue encodes the class, red and green are texture."""
    image = np.random.RandomState(0).randint(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image[..., 2] = 0
    boxes = []
    for number, (y, x) in enumerate(CENTERS):
        image[y - MARKER : y + MARKER, x - MARKER : x + MARKER, 2] = color_of(number + 1)
        boxes.append([y - 14, x - 18, y + 15, x + 16])
    return Sample(tf.constant(image), tf.constant(boxes, tf.float32), tf.range(1, len(boxes) + 1))


@pytest.fixture(scope="session")
def unmarked(marked: Sample) -> Sample:
    """Returns an image without objects."""
    return Sample(marked.image, tf.zeros((0, 4)), tf.zeros((0,), tf.int32))


@pytest.fixture(scope="session")
def run() -> Callable[..., list[Any]]:
    """Returns a function that runs `change(sample, seed)` for many seeds, eagerly and in tf.data."""

    def run_both_ways(change: Callable[..., Any], sample: Sample, seeds: list[int], *, eagerly: int = 2) -> list[Any]:
        pairs = tf.constant([(17, seed) for seed in seeds], tf.int64)
        pixels, boxes = tf.TensorSpec((None, None, 3), sample.image.dtype), tf.TensorSpec((None, 4), tf.float32)

        @tf.function(input_signature=[pixels, boxes, tf.TensorSpec((None,), tf.int32)])
        def opened(image: tf.Tensor, boxes: tf.Tensor, class_ids: tf.Tensor) -> Sample:
            return Sample(image, boxes, class_ids)  # static shapes are unknown, as after a decoder

        dataset = tf.data.Dataset.from_tensor_slices(pairs)
        mapped = list(dataset.map(lambda seed: change(opened(*sample), seed)).as_numpy_iterator())
        for result, seed in list(zip(mapped, pairs, strict=True))[:eagerly]:
            for inside, outside in zip(result, change(sample, seed), strict=True):
                np.testing.assert_allclose(inside, outside.numpy(), atol=1e-4)
        return mapped

    return run_both_ways


def check_boxes(result: Any) -> None:
    """Checks that boxes lie inside the image, and have an area and a class each."""
    assert result.boxes.dtype == np.float32
    assert result.class_ids.dtype == np.int32
    assert result.boxes.shape == (len(result.class_ids), 4)
    limits = np.array(result.image.shape[:2])
    assert (result.boxes[:, :2] >= 0).all()
    assert (result.boxes[:, 2:] <= limits).all()
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()


def check_markers(result: Any, *, tolerance: int = 0) -> None:
    """Checks that the colour of each class occurs inside the boxes of that class only."""
    blue = result.image[..., 2].astype(int)
    for class_id in set(range(1, len(CENTERS) + 1)):
        rows, columns = np.nonzero(abs(blue - color_of(class_id)) <= tolerance)
        inside = np.zeros(len(rows), bool)
        for y0, x0, y1, x1 in result.boxes[result.class_ids == class_id]:
            inside |= (rows + 0.5 >= y0) & (rows + 0.5 <= y1) & (columns + 0.5 >= x0) & (columns + 0.5 <= x1)
        if class_id in result.class_ids:
            assert inside.all(), f"{(~inside).sum()} of {len(inside)} pixels of class {class_id} are outside its box"


@pytest.fixture(scope="session")
def check() -> Callable[..., None]:
    """Returns a function that checks boxes and, unless colours changed, markers."""

    def check_result(result: Any, *, markers: bool = True, tolerance: int = 0) -> None:
        check_boxes(result)
        if markers:
            check_markers(result, tolerance=tolerance)

    return check_result
