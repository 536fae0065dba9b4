"""IoUs without a grid equal those with one; fitted anchors match more boxes."""

from collections.abc import Callable

import efficientdet
import numpy as np
import pytest
from anchor_grids import grid_of
from efficientdet.automl.hparams import parse_hparams

from efficientdet_pipeline.doctor.boxes import overlaps
from efficientdet_pipeline.models.anchor_fit import (
    MATCHED,
    AnchorGrid,
    as_hparams,
    best_overlaps,
    best_shape_overlaps,
    canvas_scales,
    class_weights,
    fit_anchors,
    recall,
)


@pytest.fixture
def grid() -> Callable[..., AnchorGrid]:
    return grid_of


def random_boxes(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centers = random.uniform(0, (height, width), (count, 2))
    sides = np.exp(random.uniform(np.log(3), np.log(300), (count, 2)))
    return np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)


@pytest.mark.parametrize(
    "changed",
    [
        {"image_size": 256},
        {"image_size": "640x384"},
        {"image_size": 320, "anchor_scale": [1.0, 2.0, 4.0, 4.0, 5.0], "num_scales": 2},
        {"image_size": 256, "aspect_ratios": [[1.0, 1.0], [1.4, 0.7]]},
    ],
    ids=str,
)
def test_anchor_fit_overlaps_are_those_of_the_real_anchors(changed: dict) -> None:
    config = efficientdet.get_config("efficientdet-d0", **changed)
    boxes = random_boxes(200, *config.image_size)
    anchors = efficientdet.anchor_boxes(config).astype(float)
    expected = np.array([overlaps(box[None], anchors).max() for box in boxes])
    np.testing.assert_allclose(best_overlaps(AnchorGrid.of(config), boxes), expected, atol=1e-5)


def test_anchor_fit_no_grid_exceeds_the_bound_of_its_shapes(grid: Callable[..., AnchorGrid]) -> None:
    boxes = random_boxes(300, 256, 256)
    assert np.all(best_shape_overlaps(grid(), boxes) >= best_overlaps(grid(), boxes) - 1e-12)


def test_anchor_fit_box_that_is_an_anchor_is_met_wholly(grid: Callable[..., AnchorGrid]) -> None:
    assert best_overlaps(grid(), np.array([[12.0, 20.0, 44.0, 52.0]])) == pytest.approx([1.0])


def test_anchor_fit_no_boxes_have_no_overlaps(grid: Callable[..., AnchorGrid]) -> None:
    assert best_overlaps(grid(), np.zeros((0, 4))).shape == (0,)


def test_anchor_fit_small_long_boxes_get_anchors_of_their_own(grid: Callable[..., AnchorGrid]) -> None:
    random = np.random.default_rng(1)
    corners = random.uniform(0, 200, (300, 2))
    boxes = np.concatenate([corners, corners + np.exp(random.normal(np.log([9, 30]), 0.15, (300, 2)))], axis=1)
    fit = fit_anchors(grid(), boxes, class_weights(np.zeros(300, int)))
    assert recall(grid(), boxes) < 0.2
    assert recall(fit, boxes) > 0.7
    assert recall(fit, boxes) == np.mean(best_overlaps(fit, boxes) >= MATCHED)
    assert (len(fit.aspect_ratios), fit.num_scales, fit.image_size) == (3, 3, (256, 256))
    assert fit_anchors(grid(), boxes, class_weights(np.zeros(300, int))) == fit


def test_anchor_fit_what_is_fitted_can_be_typed(grid: Callable[..., AnchorGrid]) -> None:
    new = grid(anchor_scale=(2.0,) * 5, aspect_ratios=(0.8, 1.1, 1.4))
    assert as_hparams(new, grid()) == "anchor_scale=2,aspect_ratios=[0.8,1.1,1.4]"
    parsed = parse_hparams(as_hparams(new, grid()))
    config = efficientdet.get_config("efficientdet-d0", image_size=256, **parsed)
    assert AnchorGrid.of(config) == new
    assert as_hparams(grid(anchor_scale=(2.0,) * 5), grid()) == "anchor_scale=2"


def test_anchor_fit_rare_classes_are_not_drowned() -> None:
    weights = class_weights(np.array([0] * 100 + [1]))
    assert weights[:100].sum() == pytest.approx(10)
    assert weights[100] == 1


def test_anchor_fit_what_fits_is_left_alone(grid: Callable[..., AnchorGrid]) -> None:
    assert as_hparams(grid(), grid()) == ""


@pytest.mark.parametrize(("resize", "expected"), [("letterbox", [[0.5, 0.5]]), ("stretch", [[1.0, 0.5]])])
def test_canvas_scales_of_an_image_of_twice_the_width(resize: str, expected: list[list[float]]) -> None:
    assert canvas_scales(np.array([[100, 200]]), (100, 100), resize=resize).tolist() == expected
