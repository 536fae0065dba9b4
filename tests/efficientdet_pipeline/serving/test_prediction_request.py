"""Allowed request bodies, and the errors for others."""

import base64
import json

import pytest

from efficientdet_pipeline.serving.prediction_request import RequestError, read_request

B64 = base64.encodebytes(bytes(100)).decode()
JSON = "application/json; charset=utf-8"


@pytest.mark.parametrize(
    "content",
    [
        {"image": B64},
        {"b64": B64},
        {"image_bytes": {"b64": B64}},
        {"image": f"data:image/png;base64,{B64}"},
        {"image": B64, "min_score": 0.25},
    ],
)
def test_read_request_takes_base64(content: dict[str, object]) -> None:
    request = read_request(JSON, json.dumps(content).encode(), "0.5")
    assert request.images == (bytes(100),)
    assert request.min_score == content.get("min_score", 0.5)
    assert not request.is_list


def test_read_request_takes_instances_and_bytes() -> None:
    request = read_request(JSON, json.dumps({"instances": [{"b64": B64}, {"image": B64}, B64]}).encode())
    assert (request.images, request.min_score, request.is_list) == ((bytes(100),) * 3, None, True)
    for kind in ("image/jpeg", "application/x-www-form-urlencoded", ""):
        assert read_request(kind, b"\xff\xd8").images == (b"\xff\xd8",)


@pytest.mark.parametrize(
    ("kind", "body", "status", "message"),
    [
        ("multipart/form-data; boundary=x", b"--x", 415, "curl does the former by --data-binary"),
        ("image/png", b"", 400, "must hold an image. Received nothing"),
        (JSON, b"{", 400, "The body is no JSON"),
        (JSON, b"[" * 100_000, 400, "The body is no JSON"),
        (JSON, b"\xff", 400, "The body is no JSON"),
        (JSON, b"[1]", 400, "must be an object. Received a list"),
        (JSON, b"{}", 400, "The image is missing. Received nothing"),
        (JSON, b'{"img": "", "a": 1}', 400, "The image is missing. Received a, img"),
        (JSON, b'{"url": "http://localhost/a.png"}', 400, "Images are not fetched from addresses"),
        (JSON, b'{"image": 7}', 400, "must be base64. Received a number"),
        (JSON, b'{"image": {"b64": null}}', 400, "must be base64. Received a null"),
        (JSON, b'{"image": "a*"}', 400, "must be base64 "),
        (JSON, b'{"instances": []}', 400, "must be a list of images. Received a list"),
        (JSON, b'{"instances": [3]}', 400, "must be base64. Received a number"),
        (JSON, b'{"image": "", "min_score": "x"}', 400, "min_score must be between 0 and 1. Received x"),
        (JSON, b'{"image": "", "min_score": true}', 400, "min_score must be between 0 and 1. Received True"),
        (JSON, b'{"image": "", "min_score": NaN}', 400, "min_score must be between 0 and 1. Received nan"),
        (JSON, b'{"image": "", "min_score": []}', 400, "min_score must be between 0 and 1"),
    ],
)
def test_read_request_says_what_is_wrong(kind: str, body: bytes, status: int, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read_request(kind, body)
    assert caught.value.status == status
