"""The HTTP server: responses, limits, access, and shutdown."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette", reason="starlette is not installed: pip install 'efficientdet-pipeline[serve]'")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'efficientdet-pipeline[serve]'")

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.detector import LoadedDetector
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.serve import ServerOptions
from efficientdet_pipeline.serving.prediction_service import PredictionService
from efficientdet_pipeline.serving.server import DetectionServer, limits_of

OPTIONS = compose(
    ServerOptions,
    port=0,
    max_request_mb=0.02,
    max_megapixels=0.01,
    request_timeout=1.0,
    max_pending=2,
    max_batch_size=2,
)


@pytest.fixture
def server(detector: LoadedDetector) -> Iterator[DetectionServer]:
    with DetectionServer(PredictionService(detector, limits_of(OPTIONS)), OPTIONS) as started:
        yield started


def ask(
    server: DetectionServer, path: str, body: Any = None, method: str | None = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.url).port, timeout=10)
    try:
        chunked = isinstance(body, Iterator)
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def test_server_detects(server: DetectionServer, image: Callable[..., bytes]) -> None:
    status, body, headers = ask(server, "/predict?min_score=0.1", image(7))
    assert (status, headers["content-type"], "server" in headers) == (200, "application/json", False)
    assert [each["box"]["x1"] for each in json.loads(body)["detections"]] == [7, 9]
    status, body, _ = ask(server, "/health")
    assert json.loads(body) == {"status": "ok", "classes": {"1": "cat", "2": "<b>dog</b>"}, "min_score": 0.4}
    status, body, headers = ask(server, "/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'efficientdet_requests_total{status="200"} 1\n' in body
    status, body, headers = ask(server, "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("status", "arguments", "message"),
    [
        (404, {"path": "/../main.py"}, "There is no such page"),
        (405, {"path": "/predict"}, "/predict answers POST. Received GET."),
        (405, {"path": "/health", "body": b"x"}, "/health answers GET. Received POST."),
        (413, {"path": "/predict", "body": bytes(30_000)}, "A body may have 20,972 bytes"),
        (413, {"path": "/predict", "body": iter([bytes(9_000)] * 3)}, "A body may have 20,972 bytes"),
        (400, {"path": "/predict", "body": b""}, "Received nothing"),
        (422, {"path": "/predict", "body": b"text"}, "cannot be read"),
        (400, {"path": "/predict?min_score=2", "body": b"text"}, "min_score must be between 0 and 1"),
        (403, {"path": "/health", "Host": "evil.example"}, "for this machine alone"),
        (403, {"path": "/predict", "body": b"x", "Origin": "http://evil.example"}, "Pages of other servers"),
        (403, {"path": "/predict", "body": b"x", "Origin": "null"}, "Pages of other servers"),
    ],
)
def test_server_refuses(server: DetectionServer, status: int, arguments: dict[str, Any], message: str) -> None:
    found, body, headers = ask(server, **arguments)
    assert (found, headers["content-type"]) == (status, "application/json")
    assert message in json.loads(body)["error"]


def wait_for_requests(server: DetectionServer, number: int) -> None:
    deadline = time.monotonic() + 10
    while f"efficientdet_requests_in_progress {number}" not in ask(server, "/metrics")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_server_ends_slow_bodies_and_turns_away_a_crowd(
    server: DetectionServer, bright: Any, image: Callable[..., bytes]
) -> None:
    port = urlsplit(server.url).port
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100\r\n\r\nabc".encode()
    with socket.create_connection(("127.0.0.1", port)) as slow, socket.create_connection(("127.0.0.1", port)) as gone:
        for each in (slow, gone):
            each.sendall(head)
        wait_for_requests(server, 2)
        status, _, headers = ask(server, "/predict", image(1))
        assert (status, headers["retry-after"]) == (503, "1")
        gone.close()
        wait_for_requests(server, 1)
        assert ask(server, "/predict", image(1))[0] == 200
        slow.settimeout(5)
        assert slow.recv(100).startswith(b"HTTP/1.1 408")


def test_server_answers_requests_in_progress_before_it_ends(
    detector: LoadedDetector, bright: Any, image: Callable[..., bytes]
) -> None:
    bright.free.clear()
    found: list[int] = []
    with DetectionServer(PredictionService(detector, limits_of(OPTIONS)), OPTIONS) as started:
        asking = threading.Thread(target=lambda: found.append(ask(started, "/predict", image(1))[0]))
        asking.start()
        wait_for_requests(started, 1)
        threading.Timer(0.3, bright.free.set).start()
    asking.join(timeout=30)
    assert found == [200]
    with pytest.raises(ConnectionRefusedError):
        ask(started, "/health")


def test_server_names_a_port_that_is_taken(server: DetectionServer, detector: LoadedDetector) -> None:
    port = urlsplit(server.url).port
    service = PredictionService(detector, limits_of(OPTIONS))
    for given in ({"port": port}, {"host": "192.0.2.1"}):
        with pytest.raises(OptionsError, match=r"which cannot be opened \(.*\); try another port"):
            DetectionServer(service, compose(ServerOptions, **given))
    service.close()
