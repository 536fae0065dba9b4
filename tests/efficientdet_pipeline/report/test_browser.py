"""The report in a browser: no console errors, working filters, images and keys, and no findings of axe."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import NEEDED, chromium, violations

from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.report.comparison import ComparedRun, write_comparison
from efficientdet_pipeline.report.contents import ReportContents

pytestmark = NEEDED
VIEWS = {"light": (1280, 900, "light"), "dark": (1280, 900, "dark"), "phone": (390, 844, "light")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def shown(browser: Any, page: Path) -> Callable[..., Any]:
    """Returns a function that opens a page, by default the report, and returns the browser."""

    def open_page(view: str = "light", page: Path = page) -> Any:
        width, height, scheme = VIEWS[view]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(page.as_uri())
        return browser

    return open_page


def visible(browser: Any) -> int:
    return int(browser.execute_script("return document.querySelectorAll('.shots > li:not([hidden])').length"))


def choose(browser: Any, selector: str, value: str) -> None:
    browser.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('change')); e.dispatchEvent(new Event('input'));",
        selector,
        value,
    )


@pytest.mark.parametrize("view", VIEWS)
def test_page_is_accessible_and_silent(view: str, shown: Callable[..., Any]) -> None:
    browser = shown(view)
    assert violations(browser) == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.broken") is None
    # Only tables and the table of contents scroll horizontally.
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_comparison_is_accessible_and_silent(
    shown: Callable[..., Any], contents: ReportContents, analysis: Analysis, tmp_path: Path
) -> None:
    runs = [ComparedRun(name, analysis, {"Network": name}, contents.charts) for name in ("a", "<b>")]
    browser = shown("dark", write_comparison(tmp_path, runs, gallery=contents.gallery))
    assert violations(browser) == []
    assert browser.get_log("browser") == []


def test_page_shows_every_image(shown: Callable[[str], Any]) -> None:
    browser = shown("light")
    sizes = browser.execute_async_script(
        "const done = arguments[0]; const all = [...document.images]; all.forEach(e => e.loading = 'eager');"
        "Promise.all(all.map(e => e.decode())).then(() => done(all.map(e => e.naturalWidth)), e => done(String(e)))"
    )
    assert len(sizes) == 11
    assert set(sizes) == {128}


def test_page_filters_the_gallery(shown: Callable[[str], Any]) -> None:
    browser = shown("light")
    total = visible(browser)
    assert total == 11
    for selector, value in (
        ("#filter-group", "worst misses"),
        ("#filter-class", "eel"),
        ("#filter-kind", "classification"),
        ("#filter-score", "0.8"),
    ):
        choose(browser, selector, value)
        part = visible(browser)
        assert 0 < part < total, selector
        assert browser.execute_script("return document.querySelector('#num-images').textContent") == (
            f"{part} images" if part > 1 else "1 image"
        )
        choose(browser, selector, "0" if selector == "#filter-score" else "")
        assert visible(browser) == total
    choose(browser, "#filter-score", "1")
    assert browser.execute_script("return document.querySelector('#no-images').hidden") == (visible(browser) > 0)


def test_page_walks_through_images_by_keys(shown: Callable[[str], Any]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = shown("light")
    browser.execute_script("document.querySelector('.shots a.open').focus()")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.TAG_NAME, "dialog")
    position = dialog.find_element(By.CSS_SELECTOR, "[role=status]")
    assert position.text == "1 of 11"
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert position.text == "2 of 11"
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT + Keys.ARROW_LEFT)
    assert position.text == "11 of 11"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not browser.execute_script("return document.querySelector('dialog').open")
    # The last viewed image has the focus.
    assert browser.execute_script(
        "return document.activeElement === [...document.querySelectorAll('.shots a.open')].pop()"
    )


def test_page_sorts_tables_and_highlights_classes(shown: Callable[[str], Any]) -> None:
    browser = shown("light")
    column = (
        "return [...document.querySelectorAll('#classes tbody tr')].map(r => parseFloat(r.children[1].textContent))"
    )
    browser.execute_script("document.querySelectorAll('#classes thead button')[1].click()")
    descending = browser.execute_script(column)
    assert descending == sorted(descending, reverse=True)
    browser.execute_script("document.querySelectorAll('#classes thead button')[1].click()")
    assert browser.execute_script(column) == descending[::-1]
    choose(browser, "#highlight", "cat")
    assert browser.execute_script("return document.querySelectorAll('#curves .line.hot').length") == 4
    before = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    browser.execute_script("document.querySelector('#theme').click()")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != before


def test_page_is_readable_without_javascript(shown: Callable[[str], Any]) -> None:
    browser = shown("light")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        document = browser.execute_cdp_cmd("DOM.getDocument", {"depth": 0})["root"]["nodeId"]

        def count(selector: str) -> int:
            found = browser.execute_cdp_cmd("DOM.querySelectorAll", {"nodeId": document, "selector": selector})
            return len(found["nodeIds"])

        assert count("section") == 15
        assert count(".shots > li") == 11
        assert count("html.js") == 0
        assert count(".shots figure .walk a") == 33
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
