"""Tests of the READMEs of the detector (its code runs) and of automl (its tests exist), and of the page on parts."""

import re
from pathlib import Path
from typing import Any

import efficientdet
import pytest
from PIL import Image

from efficientdet_pipeline.demo_dataset import draw_image

ROOT = Path(__file__).resolve().parents[2]
DETECTOR = (ROOT / "third_party/automl/efficientdet/README.md").read_text(encoding="utf-8")
CONTRACT = (ROOT / "third_party/automl/README.md").read_text(encoding="utf-8")
PARTS = (ROOT / "docs/detectors.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAID = re.compile(r"^(\S.*?)  # → (.+)$", re.MULTILINE)
"""An expression and what it gives."""
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_detector_readme_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, _ = draw_image(0, image_size=(120, 160), seed=0)
    Image.fromarray(picture).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    compared = 0
    for block in BLOCK.findall(DETECTOR):
        exec(block, namespace)
        for expression, value in SAID.findall(block):
            assert str(eval(expression, namespace)) == value, expression
            compared += 1
    assert compared == DETECTOR.count("# → ")
    assert (tmp_path / "detections.png").is_file()


def test_detector_readme_shows_all_public_names() -> None:
    code = "\n".join(BLOCK.findall(DETECTOR))
    # A config is what `get_config` gives; its class needs no showing.
    unseen = [name for name in efficientdet.__all__ if f"efficientdet.{name}" not in code and name != "DetectorConfig"]
    assert not unseen


@pytest.mark.parametrize(("page", "count"), [(CONTRACT, 44), (PARTS, 9)], ids=["automl", "detectors.md"])
def test_page_names_existing_tests(page: str, count: int) -> None:
    named = TEST.findall(page)
    assert len(named) > count
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8") if name else (ROOT / path).is_file(), name


def test_automl_readme_has_a_row_for_every_defect() -> None:
    rows = re.findall(r"^\| (\d+b?) \|", CONTRACT, re.MULTILINE)
    assert rows == [*map(str, range(1, 9)), "8b", *map(str, range(9, 45))]
