"""The report file: self-contained, nothing is loaded, names are escaped."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.report.contents import ReportContents
from efficientdet_pipeline.report.page import report_page, write_report

VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """Collects opened tags and ids, and checks that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    assert not parsed.open
    return parsed


def test_report_page_holds_every_part(page: Path) -> None:
    parsed = outline(page.read_text(encoding="utf-8"))
    sections = [attributes["id"] for tag, attributes in parsed.tags if tag == "section"]
    assert sections == [
        *("facts", "next", "training", "numbers", "classes", "confusion", "errors", "curves", "slices", "scores"),
        *("gallery", "labels", "data", "exports", "commands"),
    ]
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [
        str(attributes["href"])[1:]
        for tag, attributes in parsed.tags
        if str(attributes.get("href", "")).startswith("#")
    ]
    assert set(targets) <= set(ids)


def test_report_page_takes_names_as_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("&lt;script&gt;window.broken") > 10
    assert "<script>window.broken" not in text
    parsed = outline(text)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
    assert not [tag for tag, attributes in parsed.tags if any(name.startswith("on") for name in attributes)]


def test_report_page_loads_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for tag, attributes in outline(text).tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = str(attributes.get(name) or "")
            assert value.startswith(("data:", "#")) or value == "thresholds.yaml" or not value, (tag, value)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src &#x27;none&#x27;" in text


def test_report_page_leaves_empty_parts_out() -> None:
    page = report_page(ReportContents("Nothing yet"))
    assert not [tag for tag, _ in outline(page).tags if tag in {"section", "nav"}]


def test_write_report_replaces_the_page(tmp_path: Path) -> None:
    write_report(tmp_path / "report", ReportContents("One"))
    path = write_report(tmp_path / "report", ReportContents("Two"))
    assert path == tmp_path / "report" / "index.html"
    assert "<h1>Two</h1>" in path.read_text()


@pytest.mark.parametrize(("num_images", "num_classes"), [(3, 1), (30, 40)])
def test_report_page_of_few_and_many_classes(
    num_images: int, num_classes: int, make_analysis: Callable[..., Analysis]
) -> None:
    page = report_page(ReportContents("Classes", analysis=make_analysis(num_images, num_classes)))
    outline(page)
    assert ("The 25 most confused of" in page) == (num_classes == 40)
