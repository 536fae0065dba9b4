"""Charts: reproducible PNGs of the right size, for any data."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientdet_pipeline.inspection import charts
from efficientdet_pipeline.inspection.stats import InspectionStats, SplitStats, count_splits
from efficientdet_pipeline.visualize.annotated_figure import Style


def all_charts(contents: InspectionStats, style: Style) -> dict[str, bytes]:
    return {
        "boxes": charts.boxes_per_image(contents, style),
        "sizes": charts.box_sizes(contents, style, canvas=(128, 128), smallest_anchor=32.0),
        "aspects": charts.box_aspects(contents, style, anchor_aspects=[0.5, 1.0, 2.0]),
        "classes": charts.boxes_per_class(contents, style),
        "pairs": charts.co_occurrence(contents, style),
    }


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.fixture
def contents(shard: Callable[..., Path], record: Callable[..., bytes], obj: Callable) -> InspectionStats:
    things = [obj((0, 0, 10 + n, 20), 1 + n % 2, "猫 $x^2$" if n % 2 else "dog") for n in range(30)]
    train = shard("train.tfrecord", record(things), record(things[:1]))
    return count_splits({"train": [train], "val": [shard("val.tfrecord", record(things[:5]))]}, {})


def test_charts_same_counts_give_the_same_charts(contents: InspectionStats, style: Style) -> None:
    # Warnings are errors in tests: a name in a script that the font lacks must not warn.
    style = style._replace(label_map=contents.label_map)
    first = all_charts(contents, style)
    assert first == all_charts(contents, style)
    for name, png in first.items():
        height, width, _ = pixels(png).shape
        assert 600 <= height <= 1200, name
        assert 900 <= width <= 1500, name


def test_charts_bars_have_the_colours_of_their_splits(contents: InspectionStats, style: Style) -> None:
    seen = pixels(charts.boxes_per_image(contents, style))
    train, val = ((seen == style.color_of(class_id)).all(axis=-1).sum() for class_id in (7, 1))
    # Two images of train, one of val; the legend adds a little to both.
    assert train / val == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("splits", [(), (SplitStats("train"),), (SplitStats("train"), SplitStats("val"))])
def test_charts_nothing_to_count_is_drawn_as_such(splits: tuple[SplitStats, ...], style: Style) -> None:
    drawn = all_charts(InspectionStats(splits, {}), style)
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_charts_hundred_classes_are_cut_and_logged(style: Style) -> None:
    split = SplitStats("train")
    for class_id in range(1, 101):
        split.shapes.extend((class_id, 10, 10, 60, 80))
        split.images_with[class_id] = 1
    contents = InspectionStats((split,), {class_id: f"class {class_id}" for class_id in range(1, 101)})
    bars, pairs = charts.boxes_per_class(contents, style), charts.co_occurrence(contents, style)
    assert pixels(bars).shape[0] < 2100
    assert pixels(pairs).shape[0] < 1600


def test_charts_boxes_of_no_size_leave_the_charts_whole(style: Style) -> None:
    split = SplitStats("train", boxes_per_image=[3])
    for height, width in ((0, 10), (float("nan"), 10), (float("inf"), 10)):
        split.shapes.extend((1, height, width, 60, 80))
    drawn = all_charts(InspectionStats((split,), {1: "cat"}), style)
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())
