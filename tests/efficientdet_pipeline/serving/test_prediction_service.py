"""Limits of size, memory, time and concurrent requests."""

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from efficientdet_pipeline.serving.prediction_request import RequestError
from efficientdet_pipeline.serving.prediction_service import PredictionService


def ask(
    service: PredictionService, body: bytes, kind: str = "image/png", min_score: str | None = None, seconds: float = 5
) -> tuple[int, Any]:
    answer = service.answer(kind, body, min_score, time.monotonic() + seconds)
    return int(answer.status), json.loads(answer.body())


def test_service_answers_with_detections(service: PredictionService, image: Callable[..., bytes]) -> None:
    status, content = ask(service, image(12))
    assert (status, content["width"], content["height"]) == (200, 40, 20)
    box = {"y0": 0.0, "x0": 0.0, "y1": 5.0, "x1": 12.0}
    assert content["detections"] == [{"class_id": 1, "class_name": "cat", "score": 0.9, "box": box}]
    assert [each["class_id"] for each in ask(service, image(12), min_score="0.1")[1]["detections"]] == [1, 2]
    texts = [base64.b64encode(image(red)).decode() for red in (5, 6)]
    body = json.dumps({"instances": texts, "min_score": 0.5}).encode()
    predictions = ask(service, body, "application/json")[1]["predictions"]
    assert [each["detections"][0]["box"]["x1"] for each in predictions] == [5, 6]


def test_service_refuses_what_is_no_image_or_too_large(service: PredictionService, image: Callable[..., bytes]) -> None:
    for body in (b"hello", image(1)[:60], b"\xff\xd8\xff\xe0" + bytes(50)):
        status, content = ask(service, body)
        assert (status, content["error"][:27]) == (422, "The image cannot be read: e") or status == 422
    status, content = ask(service, image(1, 101, 100))
    assert (status, content["error"]) == (
        413,
        "The images of a request may have 0.01 million pixels (--max_megapixels). Received more; send a smaller image.",
    )
    several = json.dumps({"instances": [base64.b64encode(image(1, 80, 80)).decode()] * 2}).encode()
    assert ask(service, several, "application/json")[0] == 413
    with pytest.raises(RequestError, match="20,000 bytes"):
        service.check_body_size(20_001)


def test_service_hides_its_inside(service: PredictionService, white: bytes) -> None:
    status, content = ask(service, white)
    assert status == 500
    assert "white" not in content["error"]
    assert "the log of the server" in content["error"]


def test_service_keeps_deadlines_and_memory(
    service: PredictionService, bright: Any, image: Callable[..., bytes]
) -> None:
    bright.free.clear()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, service, image(1, 99, 100)) for _ in range(2)]
        while service._pixels._free > 300:
            time.sleep(0.01)
        # The first two hold all the pixels that may be decoded at once.
        status, content = ask(service, image(1, 99, 100), seconds=0.05)
        assert (status, "no memory" in content["error"]) == (503, True)
        status, content = ask(service, image(1, 4), seconds=0.05)
        assert (status, "longer than 5 s" in content["error"]) == (504, True)
        bright.free.set()
        assert [future.result(timeout=30)[0] for future in waiting] == [200, 200]
    assert service._pixels._free == 20_000


def test_service_admits_so_many_requests(service: PredictionService) -> None:
    with service.admission(), service.admission(), service.admission():
        with pytest.raises(RequestError, match="3 requests are in progress") as caught, service.admission():
            pass
        assert caught.value.status == 503
    with service.admission() as deadline:
        assert deadline > time.monotonic() + 4
