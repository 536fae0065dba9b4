"""The demo page in a browser: an image is sent, its boxes are drawn, the threshold filters, and axe finds nothing."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import NEEDED, chromium, violations

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'efficientdet-pipeline[serve]'")

from efficientdet_pipeline.inference.detector import LoadedDetector
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.serve import ServerOptions
from efficientdet_pipeline.serving.prediction_service import Limits, PredictionService
from efficientdet_pipeline.serving.server import DetectionServer

pytestmark = NEEDED
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), letter => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[1]));
const dropped = new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data});
document.getElementById("drop").dispatchEvent(dropped);
"""


@pytest.fixture
def url(detector: LoadedDetector) -> Iterator[str]:
    with DetectionServer(PredictionService(detector, Limits()), compose(ServerOptions, port=0)) as server:
        yield server.url


def wait_for(browser: Any, text: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 10).until(lambda _: text in browser.find_element(By.ID, "status").text)


def test_demo_page_draws_what_is_detected(url: str, image: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image(30, 200, 400))
    with chromium() as browser:
        browser.get(url)
        wait_for(browser, "No image yet.")
        assert "cat, <b>dog</b>" in browser.find_element("id", "classes").text
        assert violations(browser) == []
        browser.find_element("id", "file").send_keys(str(tmp_path / "a.png"))
        wait_for(browser, "1 detection in 400 × 200 pixels")
        boxes = (
            "return [...document.querySelectorAll('#boxes rect')].map("
            "e => ['x', 'y', 'width', 'height'].map(name => Number(e.getAttribute(name))))"
        )
        assert browser.execute_script(boxes) == [[0, 0, 30, 5]]
        browser.execute_script(
            "const e = document.getElementById('score'); e.value = 10; e.dispatchEvent(new Event('input'));"
        )
        wait_for(browser, "2 detections")
        cells = "return [...document.querySelectorAll('tbody td')].map(e => e.textContent)"
        assert browser.execute_script(cells)[3:] == ["<b>dog</b>", "0.20", "1, 1 – 9, 3"]
        assert violations(browser) == []
        assert browser.get_log("browser") == []
        browser.execute_script(DROP, base64.b64encode(image(7)).decode(), "b.png")
        wait_for(browser, "2 detections in 40 × 20 pixels")
        browser.execute_script(DROP, base64.b64encode(b"hello").decode(), "c.png")
        wait_for(browser, "The image cannot be read")
        assert browser.execute_script("return document.querySelector('figure').hidden")
        assert violations(browser) == []
