"""Live view: local only, read-only, and limited to named files."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.report.contents import Picture, ReportContents
from efficientdet_pipeline.report.page import report_page
from efficientdet_pipeline.report.serve import LiveView


@pytest.fixture
def epochs() -> list[int]:
    return [1]


@pytest.fixture
def view(epochs: list[int], tmp_path: Path) -> Iterator[LiveView]:
    (tmp_path / "thresholds.yaml").write_text("overall: 0.5\n")
    (tmp_path / "secret.txt").write_text("secret")

    def page() -> str:
        if epochs[-1] < 0:
            raise ValueError("half a row")
        picture = Picture("Latest", b"\x89PNG")
        return report_page(ReportContents(f"Epoch {epochs[-1]}", pictures=[picture]), refresh_seconds=5)

    with LiveView(page, files={"thresholds.yaml": tmp_path / "thresholds.yaml"}) as started:
        yield started


def ask(view: LiveView, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(view.url).port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def test_live_view_draws_the_page_again(view: LiveView, epochs: list[int]) -> None:
    assert view.url.startswith("http://127.0.0.1:")
    status, body, headers = ask(view)
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert "<h1>Epoch 1</h1>" in body
    assert 'data-refresh="5"' in body
    epochs.append(2)
    assert "<h1>Epoch 2</h1>" in ask(view, "/index.html?x=1")[1]
    assert ask(view, method="HEAD")[1] == ""


def test_live_view_serves_named_files_alone(view: LiveView) -> None:
    assert ask(view, "/thresholds.yaml")[:2] == (200, "overall: 0.5\n")
    for path in ("/secret.txt", "/../secret.txt", "/%2e%2e/secret.txt", "//etc/passwd", "/thresholds.yaml/"):
        assert ask(view, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_live_view_takes_nothing(view: LiveView, method: str) -> None:
    assert ask(view, method=method)[0] == 501


def test_live_view_answers_this_machine_alone(view: LiveView) -> None:
    assert ask(view, Host="evil.example:80")[0] == 403
    assert ask(view, Host="evil.example")[0] == 403
    assert ask(view, Host="localhost:1")[0] == 200


def test_live_view_survives_a_page_that_cannot_be_drawn(view: LiveView, epochs: list[int]) -> None:
    epochs.append(-1)
    status, body, _ = ask(view)
    assert status == 503
    assert "half a row" in body
    epochs.append(3)
    assert ask(view)[0] == 200


def test_live_view_names_a_port_that_is_taken(view: LiveView) -> None:
    port = urlsplit(view.url).port
    with pytest.raises(OptionsError, match=rf"Port {port} of 127\.0\.0\.1 cannot be opened"):
        LiveView(str, port=port or 0)
