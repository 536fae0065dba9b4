"""Chromium without a window, and what axe-core finds on the page that it shows."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
NEEDED = pytest.mark.skipif(
    not (PROGRAM and DRIVER and importlib.util.find_spec("selenium")),
    reason="no Chromium, chromedriver or selenium: apt-get install chromium chromium-driver; pip install selenium",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Yields a browser that keeps the messages of its console."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(PROGRAM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    yield started
    started.quit()


def axe_source() -> str:
    """Returns axe-core's script: npm's where it is installed, else the one in axe-core-python."""
    if npm := shutil.which("npm"):
        root = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False).stdout.strip()
        script = Path(root, "axe-core", "axe.min.js")
        if root and script.exists():
            return script.read_text(encoding="utf-8")
    found = importlib.util.find_spec("axe_core_python")
    if found is None or not found.origin:
        pytest.skip("axe-core is not installed: npm install -g axe-core, or pip install axe-core-python")
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def violations(browser: Any) -> list[str]:
    """Returns what axe finds on the page that is open."""
    # The script comes from the debugger, as the policy of the page allows no other.
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": axe_source()})
    found: list[str] = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then(result => done(result.violations.map("
        "each => each.id + ': ' + each.nodes.map(node => node.html.slice(0, 120)).join(' | '))))"
    )
    return found
