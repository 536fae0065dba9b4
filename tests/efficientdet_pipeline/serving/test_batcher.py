"""Batches of waiting images of one size; failures and cancelled requests do not affect others."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from efficientdet_pipeline.inference.detector import LoadedDetector
from efficientdet_pipeline.serving.batcher import Batcher


@pytest.fixture
def sizes() -> list[int]:
    return []


@pytest.fixture
def batcher(detector: LoadedDetector, sizes: list[int]) -> Iterator[Batcher]:
    started = Batcher(detector, max_batch_size=3, max_delay=5.0, on_batch=lambda size, _: sizes.append(size))
    yield started
    started.close()


def pixels(red: int, height: int = 20) -> np.ndarray:
    image = np.zeros((height, 40, 3), np.uint8)
    image[..., 0] = red
    return image


def test_batcher_detects_what_waits_at_once(batcher: Batcher, bright: Any, sizes: list[int]) -> None:
    bright.free.clear()
    futures = [batcher.submit(pixels(30))]
    assert bright.begun.wait(timeout=10)  # The next images cannot join the first one's batch.
    futures += [batcher.submit(pixels(red, height)) for red, height in ((10, 20), (11, 30), (12, 20), (13, 20))]
    bright.free.set()
    widths = [round(float(future.result(timeout=30).boxes[0, 3])) for future in futures]
    assert widths == [30, 10, 11, 12, 13]
    assert sorted(sizes) == sorted(bright.batches)
    assert sizes[1:3] == [2, 1]
    assert sum(sizes) == 5


def test_batcher_waits_for_announced_images_alone(batcher: Batcher, sizes: list[int]) -> None:
    assert batcher.submit(pixels(1)).result(timeout=30)
    batcher.announce(1)
    first, second = batcher.submit(pixels(2)), batcher.submit(pixels(3))
    assert not first.done()
    third = batcher.submit(pixels(4))
    for future in (first, second, third):
        future.result(timeout=30)
    assert sizes == [1, 3]


def test_batcher_keeps_a_failure_to_itself(batcher: Batcher, bright: Any) -> None:
    bright.free.clear()
    batcher.submit(pixels(1))
    assert bright.begun.wait(timeout=10)
    good, cancelled = batcher.submit(pixels(2)), batcher.submit(pixels(3))
    bad = batcher.submit(np.full((20, 40, 3), 255, np.uint8))
    bright.detect, detect = _fails_on_white(bright.detect), bright.detect
    assert cancelled.cancel()
    bright.free.set()
    assert good.result(timeout=30).boxes[0, 3] == 2
    with pytest.raises(MemoryError, match="white"):
        bad.result(timeout=30)
    bright.detect = detect


def _fails_on_white(detect: Any) -> Any:
    def fail(images: np.ndarray) -> Any:
        if (images.reshape(len(images), -1) == 255).all(axis=1).any():
            raise MemoryError("white")
        return detect(images)

    return fail
