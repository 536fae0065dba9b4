"""Requests of /predict: encoded images out of a body, and the errors that a client is told."""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

JSON = "application/json"
_MULTIPART = "multipart/form-data"
_KEYS = ("image", "b64", "image_bytes")
"""Where an object of JSON may have its image; the last two as in TensorFlow Serving."""
_ADVICE = 'send the bytes of the file, or {"image": "<base64>"} as application/json'


class RequestError(Exception):
    """A request that is not answered with detections: the status, and a sentence for the client."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class PredictionRequest:
    """What a client asks for."""

    images: tuple[bytes, ...]
    """Encoded images."""
    min_score: float | None
    """Minimum score of a detection; None for the detector's thresholds."""
    is_list: bool
    """Whether the images came as a list of instances, and the answer is a list as well."""


def read_request(content_type: str, body: bytes, min_score: str | None = None) -> PredictionRequest:
    """Returns the request in a body: an image file, or JSON with images in base64.

    JSON is {"image": "<base64>", "min_score": 0.3}, or {"instances": [...]} with
    such objects, or TensorFlow Serving's {"b64": "<base64>"}. Images are never
    fetched from an address.

    Args:
      content_type: header of the request; all but JSON is taken for an image file.
      body: of the request.
      min_score: in the address of the request; the body's own comes first.

    Raises:
      RequestError: it has another form.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _MULTIPART:
        message = f"A form is not read; {_ADVICE}. curl does the former by --data-binary @FILE."
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)
    if not body:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"The body must hold an image. Received nothing; {_ADVICE}.")
    if kind != JSON:
        return PredictionRequest((body,), _score(min_score), is_list=False)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"The body is no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise RequestError(
            HTTPStatus.BAD_REQUEST, f"The JSON must be an object. Received a {_kind(content)}; {_ADVICE}."
        )
    limit = _score(content.get("min_score", min_score))
    if "instances" not in content:
        return PredictionRequest((_image_of(content),), limit, is_list=False)
    instances = content["instances"]
    if not isinstance(instances, list) or not instances:
        message = f"instances must be a list of images. Received a {_kind(instances)}; {_ADVICE}."
        raise RequestError(HTTPStatus.BAD_REQUEST, message)
    return PredictionRequest(tuple(_image_of(each) for each in instances), limit, is_list=True)


def _image_of(value: object) -> bytes:
    """Returns the encoded image of an object of JSON, or of a text in base64."""
    if isinstance(value, Mapping):
        given = [name for name in _KEYS if name in value]
        if not given:
            if "url" in value or "image_url" in value:
                message = f"Images are not fetched from addresses; {_ADVICE}."
                raise RequestError(HTTPStatus.BAD_REQUEST, message)
            named = ", ".join(sorted(map(str, value)))[:100] or "nothing"
            raise RequestError(HTTPStatus.BAD_REQUEST, f"The image is missing. Received {named}; {_ADVICE}.")
        # TensorFlow Serving nests {"image_bytes": {"b64": …}}.
        value = value[given[0]]
        if isinstance(value, Mapping):
            value = value.get("b64")
    if not isinstance(value, str):
        raise RequestError(HTTPStatus.BAD_REQUEST, f"An image must be base64. Received a {_kind(value)}; {_ADVICE}.")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        # Programs break lines of base64.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"An image must be base64 ({error}); {_ADVICE}.") from error


def _score(value: object) -> float | None:
    if value is None:
        return None
    try:
        score = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        score = math.nan
    if not 0.0 <= score <= 1.0:
        raise RequestError(HTTPStatus.BAD_REQUEST, f"min_score must be between 0 and 1. Received {str(value)[:50]}.")
    return score


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "truth value", int: "number", float: "number"}
    return names.get(type(value), "null")
