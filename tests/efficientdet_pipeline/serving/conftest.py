"""A fast detector whose result depends only on the image, and its service."""

import io
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from efficientdet.types import Detections
from PIL import Image

from efficientdet_pipeline.inference.detector import LoadedDetector
from efficientdet_pipeline.inference.thresholds import Thresholds
from efficientdet_pipeline.serving.prediction_service import Limits, PredictionService


class Bright:
    """Finds a box as wide as the image's red, and one of score 0.2; notes sizes of batches, may be held."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.begun = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def detect(self, images: np.ndarray) -> Detections:
        self.begun.set()
        self.free.wait(timeout=10)
        self.batches.append(len(images))
        if (images == 255).all():
            raise MemoryError("white")
        boxes = np.array([[[0, 0, 5, image[0, 0, 0]], [1, 1, 3, 9]] for image in images], np.float32)
        scores = np.tile(np.float32([0.9, 0.2]), (len(images), 1))
        return Detections(boxes, scores, np.tile([1, 2], (len(images), 1)), np.full(len(images), 2))


def png(red: int, height: int = 20, width: int = 40) -> bytes:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = red
    return encoded(pixels)


def encoded(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def bright() -> Bright:
    return Bright()


@pytest.fixture
def image() -> Callable[..., bytes]:
    """Returns a function: red, height, width → an encoded image."""
    return png


@pytest.fixture
def white() -> bytes:
    """Returns an image that the detector fails on."""
    return encoded(np.full((20, 40, 3), 255, np.uint8))


@pytest.fixture
def detector(bright: Bright) -> LoadedDetector:
    return LoadedDetector(predictor=bright, label_map={1: "cat", 2: "<b>dog</b>"}, thresholds=Thresholds(0.4))


@pytest.fixture
def service(detector: LoadedDetector) -> Iterator[PredictionService]:
    started = PredictionService(
        detector, Limits(max_body_bytes=20_000, max_pixels=10_000, timeout=5.0, max_pending=3, max_batch_size=4)
    )
    yield started
    started.close()
