"""Matches against the anchors of a small network."""

import efficientdet
import numpy as np
import pytest
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.inspection import anchor_view
from efficientdet_pipeline.visualize.annotated_figure import AnnotatedFigure, Style


@pytest.fixture(scope="module")
def config() -> DetectorConfig:
    return efficientdet.get_config("efficientdet-d0", image_size=128, num_classes=2)


def figure(*boxes: tuple[float, ...]) -> AnnotatedFigure:
    image = np.zeros((128, 128, 3), np.uint8)
    return AnnotatedFigure(image, np.array(boxes, float).reshape(-1, 4), np.arange(len(boxes)) % 2 + 1)


def test_anchor_view_levels_are_those_of_the_grid(config: DetectorConfig) -> None:
    levels = anchor_view.anchor_levels(config)
    assert {int(level): int((levels == level).sum()) for level in np.unique(levels)} == {
        3: 16 * 16 * 9,
        4: 8 * 8 * 9,
        5: 4 * 4 * 9,
        6: 2 * 2 * 9,
        7: 9,
    }


def test_anchor_view_smallest_anchor_is_four_strides(config: DetectorConfig) -> None:
    sides = anchor_view.anchor_sides(config)
    assert sides[3] == pytest.approx((32, 32 * 2 ** (2 / 3)), rel=1e-4)
    assert sides[7][0] == pytest.approx(512, rel=1e-4)


def test_anchor_view_decoded_targets_fall_on_their_box(config: DetectorConfig) -> None:
    found = anchor_view.matches(figure((30, 40, 66, 80), (5, 5, 12, 12), (10, 10, 110, 120)), config)
    assert [match.row for match in found] == [1, 0, 2]
    for match in found:
        assert len(match.anchors) == len(match.levels) == len(match.decoded) > 0
        assert match.miss < 1e-3


def test_anchor_view_box_too_small_for_any_anchor_gets_one_by_force(config: DetectorConfig) -> None:
    small, large = anchor_view.matches(figure((30, 40, 66, 80), (5, 5, 12, 12)), config)
    assert small.is_forced
    assert len(small.anchors) == 1
    assert small.best_overlap < 0.1
    assert not large.is_forced
    assert large.best_overlap > 0.5
    assert set(large.levels.tolist()) <= {3, 4}


def test_anchor_view_box_whose_anchor_another_has_gets_none(config: DetectorConfig) -> None:
    first, second = anchor_view.matches(figure((5, 5, 9, 9), (5, 5, 9.5, 9)), config)
    assert (len(first.anchors), len(second.anchors)) == (1, 0)
    report = anchor_view.anchor_report([first, second])
    assert "Of 2 boxes, 1 overlap no anchor" in report
    assert "1 have no anchor" in report


@pytest.mark.parametrize("boxes", [[], [(5, 5, 5, 20)], [(float("nan"), 5, 5, 20)]])
def test_anchor_view_without_a_box_that_has_an_area_nothing_matches(boxes: list[tuple], config: DetectorConfig) -> None:
    assert anchor_view.matches(figure(*boxes), config) == []


def test_anchor_view_choice_spreads_over_the_sizes(config: DetectorConfig) -> None:
    found = anchor_view.matches(figure(*[(0, 0, side, side) for side in range(10, 120, 10)]), config)
    chosen = anchor_view.spread(found, 3)
    assert [match.figure.boxes[match.row][2] for match in chosen] == [10, 60, 110]
    assert anchor_view.spread(found[:2], 3) == found[:2]


def test_anchor_view_sheet_shows_each_match_twice(config: DetectorConfig, style: Style) -> None:
    found = anchor_view.matches(figure((30, 40, 66, 80)), config)
    sheet = anchor_view.draw_anchor_matches(found, config, style, text="Text.")
    true_box = (sheet == 255).all(axis=-1)
    assert sheet.shape[1] >= 2 * anchor_view.SIDE
    # Level 3 has the colour of class id 1 here; both images and the legend show it.
    columns = np.flatnonzero((sheet == (255, 1, 0)).all(axis=-1).any(axis=0))
    assert columns.min() < anchor_view.SIDE < columns.max()
    assert true_box.any()
