"""Dynamic batching: images of requests that wait at the same time are detected at once."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from efficientdet_pipeline.inference.detector import LoadedDetector
from efficientdet_pipeline.inference.results import ImageDetections


class _Waiting(NamedTuple):
    image: np.ndarray
    future: "Future[ImageDetections]"


class Batcher:
    """One thread that detects in the images of all requests; batches have images of one size.

    A batch is taken as soon as it is full, the delay has passed, or no other
    image is on its way. A request that is cancelled before its turn costs nothing.
    """

    def __init__(
        self,
        detector: LoadedDetector,
        *,
        max_batch_size: int,
        max_delay: float,
        on_batch: Callable[[int, float], None],
    ):
        """Starts the thread.

        Args:
          detector: used by that thread alone.
          max_batch_size: images at once.
          max_delay: seconds to wait for announced images.
          on_batch: called with the number of images and the seconds of each batch.
        """
        self._detector, self._size, self._delay, self._on_batch = detector, max_batch_size, max_delay, on_batch
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._announced = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def announce(self, change: int) -> None:
        """Changes the number of images that requests in progress are going to submit."""
        with self._lock:
            self._announced += change

    def submit(self, image: np.ndarray) -> "Future[ImageDetections]":
        """Returns the detections of an image, uint8 RGB (h, w, 3), as a future: clipped to it, best first."""
        future: Future[ImageDetections] = Future()
        self._queue.put(_Waiting(image, future))
        return future

    def close(self) -> None:
        """Ends the thread after the images that are waiting."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        is_open = True
        while is_open:
            first = self._queue.get()
            if first is None:
                return
            batch, is_open = self._batch_from(first)
            self._detect([each for each in batch if each.future.set_running_or_notify_cancel()])

    def _batch_from(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Returns the images of a batch, and whether more may follow."""
        batch, end = [first], time.monotonic() + self._delay
        while len(batch) < self._size:
            seconds = end - time.monotonic() if self._announced > 0 else 0.0
            try:
                following = self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return batch, False
            batch.append(following)
        return batch, True

    def _detect(self, batch: list[_Waiting]) -> None:
        for group in _by_size(batch):
            try:
                self._detect_group(group)
            except Exception as error:
                # One image must not cost the others their detections.
                if len(group) == 1:
                    group[0].future.set_exception(error)
                    continue
                for each in group:
                    self._detect_alone(each)

    def _detect_alone(self, waiting: _Waiting) -> None:
        try:
            self._detect_group([waiting])
        except Exception as error:
            waiting.future.set_exception(error)

    def _detect_group(self, group: list[_Waiting]) -> None:
        start = time.monotonic()
        images = ((number, each.image) for number, each in enumerate(group))
        found = [each for _, _, each in self._detector.detect_each(images, self._size)]
        self._on_batch(len(group), time.monotonic() - start)
        for waiting, detections in zip(group, found, strict=True):
            waiting.future.set_result(detections)


def _by_size(batch: list[_Waiting]) -> list[list[_Waiting]]:
    groups: dict[tuple[int, ...], list[_Waiting]] = {}
    for each in batch:
        groups.setdefault(each.image.shape, []).append(each)
    return list(groups.values())
