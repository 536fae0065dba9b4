"""Entry point of a cloud function that answers as /predict does.

A deployment's main.py has one line, and `functions-framework` or the cloud runs it:

    from efficientdet_pipeline.serving.cloud_function import predict

The environment variable DETECTOR names the export, beside main.py as a rule, and
DETECTOR_OPTIONS more options of --mode=serve, such as "--min_score_thresh=0.3".
"""

import os
import shlex
import threading
from collections.abc import Mapping
from typing import Protocol

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.serving.loading import service_of
from efficientdet_pipeline.serving.prediction_request import RequestError
from efficientdet_pipeline.serving.prediction_service import PredictionService, refusal

DETECTOR = "DETECTOR"
OPTIONS = "DETECTOR_OPTIONS"
_lock = threading.Lock()
_loaded: dict[tuple[str, str], PredictionService] = {}


class Stream(Protocol):
    """A body that is read."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes."""


class HttpRequest(Protocol):
    """What the entry point reads of Flask's request."""

    @property
    def content_type(self) -> str | None:
        """Returns the header of that name."""

    @property
    def args(self) -> Mapping[str, str]:
        """Returns the parameters of the address."""

    @property
    def stream(self) -> Stream:
        """Returns the body."""


def predict(request: HttpRequest) -> tuple[bytes, int, dict[str, str]]:
    """Returns body, status and headers of the answer to an HTTP request."""
    service = _service()
    try:
        with service.admission() as deadline:
            body = request.stream.read(service.limits.max_body_bytes + 1)
            service.check_body_size(len(body))
            answer = service.answer(request.content_type or "", body, request.args.get("min_score"), deadline)
    except RequestError as error:
        answer = refusal(error)
    return answer.body(), int(answer.status), answer.headers


def _service() -> PredictionService:
    """Returns the service of the detector that the environment names; loaded once per process."""
    path = os.environ.get(DETECTOR, "")
    more = os.environ.get(OPTIONS, "")
    if not path:
        raise OptionsError(f"The environment variable {DETECTOR} must name an export. Received nothing.")
    with _lock:
        if (path, more) not in _loaded:
            _loaded[path, more] = service_of([f"--saved_model_dir={path}", *shlex.split(more)])
        return _loaded[path, more]
