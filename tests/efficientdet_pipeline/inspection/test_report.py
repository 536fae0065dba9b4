"""The folder that a look leaves."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import efficientdet
import numpy as np
import pytest

from efficientdet_pipeline.inspection.report import ReportWriter, files_of_album
from efficientdet_pipeline.inspection.stats import count_splits
from efficientdet_pipeline.visualize.scene import AnnotatedFigure, Style

CHARTS = {"boxes_per_image.png", "box_sizes.png", "aspect_ratios.png", "classes.png", "co_occurrence.png"}


def scenes(count: int) -> list[tuple[AnnotatedFigure, AnnotatedFigure]]:
    photo = AnnotatedFigure(
        np.zeros((60, 80, 3), np.uint8), np.array([[5.0, 5, 50, 60]]), np.array([1]), caption="a · 1 box"
    )
    canvas = photo._replace(image=np.zeros((64, 64, 3), np.uint8), boxes=np.array([[4.0, 4, 40, 48]]))
    return [(photo, canvas)] * count


@pytest.fixture
def album(
    tmp_path: Path, shard: Callable[..., Path], record: Callable[..., bytes], thing: Callable, brush: Style
) -> ReportWriter:
    path = shard("train.tfrecord", record([thing((5, 5, 50, 60))]), record([thing((5, 5, 50, 60), 2, "dog")]))
    return ReportWriter(
        folder=tmp_path / "look" / "here",
        contents=count_splits({"train": [path]}, {}),
        config=efficientdet.get_config("efficientdet-d0", image_size=64, num_classes=2),
        brush=brush,
        source="train.tfrecord",
        is_varied=True,
    )


def files(album: ReportWriter) -> set[str]:
    return {path.name for path in album.folder.iterdir()}


def test_everything_is_written(album: ReportWriter) -> None:
    assert album.write(scenes(2)) == 2
    sheets = {"raw.png", "augmented.png", "anchors.png"}
    assert files(album) == {"sample0.jpg", "sample1.jpg", *sheets, *CHARTS, "counts.json", "index.html"}
    assert json.loads((album.folder / "counts.json").read_text())["splits"]["train"]["boxes"] == 2
    assert (album.folder / "index.html").read_text().count("<img") == len(sheets | CHARTS)


def test_the_same_look_leaves_the_same_bytes_and_nothing_of_a_longer_one(album: ReportWriter) -> None:
    album.write(scenes(1))
    first = {path.name: path.read_bytes() for path in album.folder.iterdir()}
    (album.folder / "notes.txt").write_text("mine")
    (album.folder / "sample9.jpg").write_text("not the next number: not ours")
    album.write(scenes(3))
    replace(album, earlier=frozenset({"sample0.jpg", "sample1.jpg", "sample2.jpg", "index.html"})).write(scenes(1))
    assert files(album) == {*first, "notes.txt", "sample9.jpg"}
    assert {name: (album.folder / name).read_bytes() for name in first} == first


def test_without_records_the_page_is_written_all_the_same(album: ReportWriter) -> None:
    assert album.write([]) == 0
    assert files(album) == {*CHARTS, "counts.json", "index.html"}


def test_files_of_an_album_without_a_note_are_known_by_its_counts(album: ReportWriter) -> None:
    (album.folder).mkdir(parents=True, exist_ok=True)
    (album.folder / "sample0.jpg").write_text("mine")
    assert files_of_album(album.folder) == set()
    album.write(scenes(2))
    (album.folder / "sample9.jpg").write_text("not the next number: not ours")
    assert files_of_album(album.folder) == files(album) - {"sample9.jpg"}
