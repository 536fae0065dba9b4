"""Output folder of an inspection."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import efficientdet
import numpy as np
import pytest

from efficientdet_pipeline.inspection.report import ReportWriter, files_of_report
from efficientdet_pipeline.inspection.stats import count_splits
from efficientdet_pipeline.visualize.annotated_figure import AnnotatedFigure, Style

CHARTS = {"boxes_per_image.png", "box_sizes.png", "aspect_ratios.png", "classes.png", "co_occurrence.png"}


def scenes(count: int) -> list[tuple[AnnotatedFigure, AnnotatedFigure]]:
    photo = AnnotatedFigure(
        np.zeros((60, 80, 3), np.uint8), np.array([[5.0, 5, 50, 60]]), np.array([1]), caption="a · 1 box"
    )
    canvas = photo._replace(image=np.zeros((64, 64, 3), np.uint8), boxes=np.array([[4.0, 4, 40, 48]]))
    return [(photo, canvas)] * count


@pytest.fixture
def report(
    tmp_path: Path, shard: Callable[..., Path], record: Callable[..., bytes], obj: Callable, style: Style
) -> ReportWriter:
    path = shard("train.tfrecord", record([obj((5, 5, 50, 60))]), record([obj((5, 5, 50, 60), 2, "dog")]))
    return ReportWriter(
        folder=tmp_path / "look" / "here",
        contents=count_splits({"train": [path]}, {}),
        config=efficientdet.get_config("efficientdet-d0", image_size=64, num_classes=2),
        style=style,
        source="train.tfrecord",
        is_augmented=True,
    )


def files(report: ReportWriter) -> set[str]:
    return {path.name for path in report.folder.iterdir()}


def test_report_everything_is_written(report: ReportWriter) -> None:
    assert report.write(scenes(2)) == 2
    sheets = {"raw.png", "augmented.png", "anchors.png"}
    assert files(report) == {"sample0.jpg", "sample1.jpg", *sheets, *CHARTS, "counts.json", "index.html"}
    assert json.loads((report.folder / "counts.json").read_text())["splits"]["train"]["boxes"] == 2
    assert (report.folder / "index.html").read_text().count("<img") == len(sheets | CHARTS)


def test_report_same_look_leaves_the_same_bytes_and_nothing_of_a_longer_one(report: ReportWriter) -> None:
    report.write(scenes(1))
    first = {path.name: path.read_bytes() for path in report.folder.iterdir()}
    (report.folder / "notes.txt").write_text("mine")
    (report.folder / "sample9.jpg").write_text("not the next number: not ours")
    report.write(scenes(3))
    replace(report, earlier=frozenset({"sample0.jpg", "sample1.jpg", "sample2.jpg", "index.html"})).write(scenes(1))
    assert files(report) == {*first, "notes.txt", "sample9.jpg"}
    assert {name: (report.folder / name).read_bytes() for name in first} == first


def test_report_without_records_the_page_is_written_all_the_same(report: ReportWriter) -> None:
    assert report.write([]) == 0
    assert files(report) == {*CHARTS, "counts.json", "index.html"}


def test_report_files_of_an_report_without_a_note_are_known_by_its_counts(report: ReportWriter) -> None:
    (report.folder).mkdir(parents=True, exist_ok=True)
    (report.folder / "sample0.jpg").write_text("mine")
    assert files_of_report(report.folder) == set()
    report.write(scenes(2))
    (report.folder / "sample9.jpg").write_text("not the next number: not ours")
    assert files_of_report(report.folder) == files(report) - {"sample9.jpg"}
