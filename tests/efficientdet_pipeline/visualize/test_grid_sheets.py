"""Contents and layout of contact sheets."""

import numpy as np
import pytest

from efficientdet_pipeline.visualize.annotated_figure import AnnotatedFigure, Style
from efficientdet_pipeline.visualize.grid import (
    MARGIN,
    SHEET_WIDTH,
    CaptionedImage,
    annotated_contact_sheet,
    captioned_contact_sheet,
    cell_side,
)

BLUE = (0, 0, 255)


def blue_scenes(count: int, *, names: str = "a · 1 box") -> list[AnnotatedFigure]:
    image = np.full((40, 60, 3), BLUE, np.uint8)
    return [
        AnnotatedFigure(image, np.array([[5.0, 5, 20, 20]]), np.array([1 + n % 2]), caption=names) for n in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 10, 21, 48])
def test_grid_every_figure_is_on_the_sheet(count: int, style: Style) -> None:
    sheet = annotated_contact_sheet(blue_scenes(count), style, title="Title", text="Text.")
    assert 900 <= sheet.shape[1] <= SHEET_WIDTH
    side = cell_side(count)
    one = side * round(side * 2 / 3)
    assert (sheet == BLUE).all(axis=-1).sum() == pytest.approx(count * one, rel=0.25)


def test_grid_legend_counts_boxes_by_class(style: Style) -> None:
    without = annotated_contact_sheet(blue_scenes(0), style, title="", text="")
    sheet = annotated_contact_sheet(blue_scenes(3), style, title="", text="")
    legend = sheet[-60:]
    assert (legend == (255, 1, 0)).all(axis=-1).any()
    assert (legend == (255, 2, 0)).all(axis=-1).any()
    assert not (without == (255, 1, 0)).all(axis=-1).any()


def test_grid_class_known_by_masks_alone_is_in_the_legend(style: Style) -> None:
    figure = AnnotatedFigure(
        np.zeros((40, 60, 3), np.uint8), np.zeros((0, 4)), np.zeros(0, int), tints=[(7, np.zeros((40, 60), bool))]
    )
    sheet = annotated_contact_sheet([figure], style, title="", text="")
    assert (sheet[-60:] == (255, 7, 0)).all(axis=-1).any()


def test_grid_caption_too_long_shortens_its_name_first(style: Style) -> None:
    # The ends of both captions are equal, so the pixels on the right must be equal.
    long = annotated_contact_sheet(blue_scenes(20, names="n" * 300 + " · 60×40 px"), style, title="", text="")
    short = annotated_contact_sheet(blue_scenes(20, names="n · 60×40 px"), style, title="", text="")
    assert long.shape == short.shape
    margin_right = long[:, -MARGIN + 8 :]
    assert (margin_right == 255).all()


def test_grid_many_chips_go_on_in_the_next_line(style: Style) -> None:
    tile = CaptionedImage(np.zeros((10, 10, 3), np.uint8), "")
    one = captioned_contact_sheet([tile], style, title="", text="", legend=[("class", BLUE)])
    many = captioned_contact_sheet([tile], style, title="", text="", legend=[("a class with a name", BLUE)] * 30)
    assert many.shape[0] > one.shape[0]
    assert not (many[:, -MARGIN:] == BLUE).all(axis=-1).any()
