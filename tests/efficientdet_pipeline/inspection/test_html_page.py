"""The HTML page: self-contained, well-formed, and safe with any names."""

import base64
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from efficientdet_pipeline.inspection.html_page import MAX_LISTED, ReportFigure, as_jpeg, html_page
from efficientdet_pipeline.inspection.shard_reader import DamagedRecord, RecordLocation
from efficientdet_pipeline.inspection.stats import InspectionStats, SplitStats

PNG = b"\x89PNG and so on"


def parsed(page: str) -> ET.Element:
    # The page is XHTML except for its first line, so that a strict parser checks that every tag is closed.
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def fault(record: int, file: str = "train.tfrecord") -> DamagedRecord:
    return DamagedRecord(RecordLocation(Path(file), record, 100 * record, 5), "the checksum of its data is wrong")


def test_html_page_page_of_whole_records_says_so() -> None:
    contents = InspectionStats((SplitStats("train", boxes_per_image=[1, 3]), SplitStats("val")), {1: "cat"})
    root = parsed(html_page(contents, [], title="Title", lead="Lead."))
    text = "".join(root.itertext())
    assert "All records of all files are readable." in text
    assert [head.text for head in root.findall(".//table[1]/tr[1]/th")][:3] == ["split", "train", "val"]
    assert "2, 3" in text


def test_html_page_damaged_records_are_listed_by_their_place() -> None:
    contents = InspectionStats((SplitStats("train", damaged=[fault(3), fault(7)]),), {})
    root = parsed(html_page(contents, [], title="Title", lead=""))
    rows = [["".join(cell.itertext()) for cell in row] for row in root.findall(".//div[@class='damaged']//tr")]
    assert rows[1:] == [
        ["train.tfrecord", "3", "300", "the checksum of its data is wrong"],
        ["train.tfrecord", "7", "700", "the checksum of its data is wrong"],
    ]


def test_html_page_long_list_is_cut_and_logged() -> None:
    contents = InspectionStats((SplitStats("train", damaged=[fault(n) for n in range(MAX_LISTED + 5)]),), {})
    root = parsed(html_page(contents, [], title="Title", lead=""))
    assert "And 5 more, in counts.json." in "".join(root.itertext())


def test_html_page_empty_files_are_named() -> None:
    contents = InspectionStats((SplitStats("train", empty_files=[Path("shards/none.tfrecord")]),), {})
    assert "The file shards/none.tfrecord is empty." in "".join(
        parsed(html_page(contents, [], title="Title", lead="")).itertext()
    )


def test_html_page_names_cannot_break_the_page() -> None:
    names = {1: "<script>alert(1)</script>", 2: 'a "quoted" & \x00 name', 3: "猫", 4: "broken \udcff bytes"}
    damaged = [fault(0, "<b>&.tfrecord")]
    page = html_page(InspectionStats((SplitStats("<train>", damaged=damaged),), names), [], title="<T>", lead="&")
    page.encode()
    root = parsed(page)
    assert root.find(".//script") is None
    assert "<script>alert(1)</script>" in "".join(root.itertext())
    assert "猫" in page


def test_html_page_images_are_in_the_page() -> None:
    photo = as_jpeg(np.zeros((8, 8, 3), np.uint8))
    shown = [ReportFigure("a.png", "First", PNG), ReportFigure("b.png", "Second", photo)]
    root = parsed(html_page(InspectionStats((), {}), shown, title="Title", lead=""))
    first, second = (image.attrib["src"] for image in root.iter("img"))
    assert first == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert base64.b64decode(second.removeprefix("data:image/jpeg;base64,")) == photo
