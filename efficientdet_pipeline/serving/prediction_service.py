"""From the body of a request to its answer, within limits; what the web server and the cloud function share."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
from absl import logging

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.detector import LoadedDetector
from efficientdet_pipeline.inference.image_io import decode_content
from efficientdet_pipeline.inference.results import ImageDetections, image_record
from efficientdet_pipeline.serving.batcher import Batcher
from efficientdet_pipeline.serving.prediction_request import JSON, PredictionRequest, RequestError, read_request
from efficientdet_pipeline.serving.server_metrics import ServerMetrics
from tfrmod.image_file import upright_size
from tfrmod.image_headers import ImageError

_IMAGES_IN_MEMORY = 2
"""Multiple of the pixels of one request that all requests together may have decoded."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may cost."""

    max_body_bytes: int = 16 << 20
    max_pixels: int = 50_000_000
    timeout: float = 30.0
    """Seconds."""
    max_pending: int = 32
    max_batch_size: int = 8
    batch_delay: float = 0.005
    """Seconds."""


@dataclass(frozen=True)
class Answer:
    """An answer of /predict, as JSON."""

    status: HTTPStatus
    content: Mapping[str, object]

    def body(self) -> bytes:
        """Returns the content as JSON."""
        return (json.dumps(self.content, ensure_ascii=False) + "\n").encode()

    @property
    def headers(self) -> dict[str, str]:
        """Returns the headers of HTTP."""
        headers = {"Content-Type": JSON, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return headers | ({"Retry-After": "1"} if self.status == HTTPStatus.SERVICE_UNAVAILABLE else {})


class PredictionService:
    """Answers requests with a detector; its methods may be called by many threads."""

    def __init__(self, detector: LoadedDetector, limits: Limits):
        """Starts the thread that detects."""
        self.detector, self.limits, self.metrics = detector, limits, ServerMetrics()
        self._batcher = Batcher(
            detector,
            max_batch_size=limits.max_batch_size,
            max_delay=limits.batch_delay,
            on_batch=self.metrics.count_batch,
        )
        self._free = threading.BoundedSemaphore(limits.max_pending)
        self._pixels = _PixelBudget(_IMAGES_IN_MEMORY * limits.max_pixels)

    def warm_up(self, height: int = 480, width: int = 640) -> None:
        """Detects once, so that the first request does not wait for the tracing of the graph."""
        self.detector.detect(np.zeros((height, width, 3), np.uint8))

    def close(self) -> None:
        """Ends the thread that detects, after the images that are waiting."""
        self._batcher.close()

    def health(self) -> dict[str, object]:
        """Returns what /health tells: that images are detected, the classes and the default threshold."""
        names = {str(class_id): name for class_id, name in sorted(self.detector.label_map.items())}
        return {"status": "ok", "classes": names, "min_score": self.detector.thresholds.default}

    @contextmanager
    def admission(self) -> Iterator[float]:
        """Admits a request and yields its deadline, in seconds of time.monotonic.

        Raises:
          RequestError: too many requests are in progress.
        """
        if not self._free.acquire(blocking=False):
            message = f"{self.limits.max_pending} requests are in progress already; try again in a moment."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message)
        try:
            yield time.monotonic() + self.limits.timeout
        finally:
            self._free.release()

    def answer(self, content_type: str, body: bytes, min_score: str | None, deadline: float) -> Answer:
        """Returns the answer to an admitted request; a request that is at fault is answered with what is wrong.

        Args:
          content_type: header of the request.
          body: of the request.
          min_score: in its address.
          deadline: from `admission`.
        """
        try:
            return self._predict(read_request(content_type, body, min_score), deadline)
        except RequestError as error:
            return refusal(error)
        except Exception as error:
            # A client is not told of the inside of the server.
            logging.exception("A request failed: %s", error)
            message = "The detector failed on this request; the log of the server has the reason."
            return refusal(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, message))

    def check_body_size(self, num_bytes: int) -> None:
        """Raises RequestError if a body is too large."""
        if num_bytes > self.limits.max_body_bytes:
            raise RequestError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"A body may have {self.limits.max_body_bytes:,} bytes (--max_request_mb). Received more.",
            )

    def _predict(self, request: PredictionRequest, deadline: float) -> Answer:
        sizes = [self._size(content) for content in request.images]
        num_pixels = sum(height * width for height, width in sizes)
        if num_pixels > self.limits.max_pixels:
            raise self._too_many_pixels(f"{num_pixels / 1e6:.1f} million")
        with ExitStack() as stack:
            stack.enter_context(self._pixels.reserved(num_pixels, deadline))
            images = self._decoded(request.images)
            found = self._detections(images, deadline)
        predictions = [
            self._prediction(image.shape[:2], each, request.min_score)
            for image, each in zip(images, found, strict=True)
        ]
        return Answer(HTTPStatus.OK, {"predictions": predictions} if request.is_list else predictions[0])

    def _size(self, content: bytes) -> tuple[int, int]:
        try:
            return upright_size(content, max_pixels=self.limits.max_pixels)
        except ImageError as error:
            if error.code == "image_too_large":
                raise self._too_many_pixels("more") from error
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"The image cannot be read: {error}") from error

    def _too_many_pixels(self, received: str) -> RequestError:
        limit = f"{self.limits.max_pixels / 1e6:g} million pixels (--max_megapixels)"
        message = f"The images of a request may have {limit}. Received {received}; send a smaller image."
        return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)

    def _decoded(self, contents: Sequence[bytes]) -> list[np.ndarray]:
        self._batcher.announce(len(contents))
        try:
            return [decode_content(content, max_pixels=self.limits.max_pixels) for content in contents]
        except DataError as error:
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"The image cannot be read: {error}") from error
        finally:
            self._batcher.announce(-len(contents))

    def _detections(self, images: Sequence[np.ndarray], deadline: float) -> list[ImageDetections]:
        futures: list[Future[ImageDetections]] = [self._batcher.submit(image) for image in images]
        try:
            return [future.result(timeout=max(0.0, deadline - time.monotonic())) for future in futures]
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            for future in futures:
                future.cancel()

    def _too_slow(self) -> RequestError:
        message = f"The request took longer than {self.limits.timeout:g} s (--request_timeout); try again later."
        return RequestError(HTTPStatus.GATEWAY_TIMEOUT, message)

    def _prediction(self, size: tuple[int, ...], found: ImageDetections, min_score: float | None) -> dict[str, object]:
        shown = self.detector.thresholds.above(found) if min_score is None else found.above(min_score)
        self.metrics.count_detections(len(shown.scores))
        record = image_record("", (size[0], size[1]), shown, self.detector.label_map)
        return {name: value for name, value in record.items() if name != "image"}


def refusal(error: RequestError) -> Answer:
    """Returns the answer that tells a client what is wrong."""
    return Answer(error.status, {"error": str(error)})


class _PixelBudget:
    """Pixels that may be decoded at one time; who asks for more waits."""

    def __init__(self, total: int):
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, pixels: int, deadline: float) -> Iterator[None]:
        """Waits for pixels to be free, and holds them.

        Raises:
          RequestError: the deadline passed first.
        """
        with self._changed:
            seconds = max(0.0, deadline - time.monotonic())
            if not self._changed.wait_for(lambda: self._free >= pixels, timeout=seconds):
                message = "The server had no memory for the image in time; try again later."
                raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()
