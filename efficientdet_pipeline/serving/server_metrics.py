"""Metrics of the server in the text format of Prometheus."""

import threading
from collections.abc import Iterator
from itertools import accumulate

import psutil

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class _Histogram:
    def __init__(self, name: str, text: str, bounds: tuple[float, ...]):
        self.name, self.text, self.bounds = name, text, bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        place = next((number for number, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        self.counts[place] += 1
        self.sum += value

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} histogram"
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        for name, count in zip(names, accumulate(self.counts), strict=True):
            yield f'{self.name}_bucket{{le="{name}"}} {count}'
        yield f"{self.name}_sum {self.sum:.6f}"
        yield f"{self.name}_count {sum(self.counts)}"


class ServerMetrics:
    """Counts of requests and images, times, and sizes of batches; any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[int, int] = {}
        self._in_progress = self._images = self._detections = 0
        self._request_seconds = _Histogram(
            "efficientdet_request_seconds", "Time from the head of a request to its answer.", _SECONDS
        )
        self._batch_seconds = _Histogram(
            "efficientdet_batch_seconds", "Time of the detector for a batch of images.", _SECONDS
        )
        self._batch_size = _Histogram("efficientdet_batch_size", "Images detected at once.", _SIZES)

    def begin_request(self) -> None:
        """Counts a request in progress."""
        with self._lock:
            self._in_progress += 1

    def end_request(self, status: int, seconds: float) -> None:
        """Counts a request that is answered with an HTTP status after so many seconds."""
        with self._lock:
            self._in_progress -= 1
            self._requests[status] = self._requests.get(status, 0) + 1
            self._request_seconds.observe(seconds)

    def count_batch(self, images: int, seconds: float) -> None:
        """Counts a batch of images that took the detector so many seconds."""
        with self._lock:
            self._images += images
            self._batch_size.observe(images)
            self._batch_seconds.observe(seconds)

    def count_detections(self, detections: int) -> None:
        """Counts detections that were answered."""
        with self._lock:
            self._detections += detections

    def text(self) -> str:
        """Returns all metrics as Prometheus reads them."""
        with self._lock:
            lines = [
                "# HELP efficientdet_requests_total Answered requests of /predict by HTTP status.",
                "# TYPE efficientdet_requests_total counter",
                *(
                    f'efficientdet_requests_total{{status="{status}"}} {count}'
                    for status, count in sorted(self._requests.items())
                ),
                *_single("efficientdet_requests_in_progress", "gauge", "Requests of /predict.", self._in_progress),
                *_single("efficientdet_images_total", "counter", "Images that were detected in.", self._images),
                *_single("efficientdet_detections_total", "counter", "Detections answered.", self._detections),
                *self._request_seconds.lines(),
                *self._batch_seconds.lines(),
                *self._batch_size.lines(),
            ]
        resident = psutil.Process().memory_info().rss
        lines += _single("process_resident_memory_bytes", "gauge", "Memory of the server.", resident)
        return "\n".join(lines) + "\n"


def _single(name: str, kind: str, text: str, value: int) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value}"]
