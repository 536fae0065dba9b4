"""Pixels of drawn figures."""

import numpy as np
import pytest

from efficientdet_pipeline.visualize.annotated_figure import MAX_NAMED, AnnotatedFigure, Style, draw_figure, shortened

GREY = 90


def figure(*boxes: tuple[float, ...], size: tuple[int, int] = (100, 120), **more: object) -> AnnotatedFigure:
    image = np.full((*size, 3), GREY, np.uint8)
    return AnnotatedFigure(image, np.array(boxes, float).reshape(-1, 4), np.ones(len(boxes), int), **more)


def changed(drawn: np.ndarray) -> np.ndarray:
    return np.argwhere((drawn != GREY).any(axis=-1))


def test_annotated_figure_small_box_is_one_pixel_thin(style: Style) -> None:
    drawn = draw_figure(figure((10, 20, 20, 30), size=(60, 60)), style)
    assert drawn[10, 20:31].tolist() == [[255, 1, 0]] * 11
    assert drawn[12, 22].tolist() == [GREY] * 3
    assert changed(drawn).min(axis=0).tolist() == [10, 20]
    assert changed(drawn).max(axis=0).tolist() == [20, 30]


def test_annotated_figure_large_box_has_a_dark_outline(style: Style) -> None:
    drawn = draw_figure(figure((10, 10, 50, 50), size=(60, 60)), style)
    assert drawn[9, 30].tolist() == [0, 0, 0]
    assert drawn[10, 30].tolist() == drawn[11, 30].tolist() == [255, 1, 0]
    assert drawn[12, 30].tolist() == [GREY] * 3


def test_annotated_figure_names_are_written_only_while_they_hide_nothing(style: Style) -> None:
    few, many = [(40, 40, 44, 44)], [(40, 40, 44, 44)] * (MAX_NAMED + 1)
    assert len(changed(draw_figure(figure(*few), style))) > len(changed(draw_figure(figure(*many), style))) == 16
    assert len(changed(draw_figure(figure(*few, size=(70, 200)), style))) == 16


def test_annotated_figure_boxes_that_cannot_be_drawn_are_left_out(style: Style) -> None:
    nowhere = figure((float("nan"), 0, 5, 5), (float("inf"), 0, 5, 5), size=(60, 60))
    assert not changed(draw_figure(nowhere, style)).size


def test_annotated_figure_box_beyond_the_image_is_drawn_at_its_edge(style: Style) -> None:
    drawn = draw_figure(figure((-50, -50, 500, 500), size=(60, 60)), style)
    assert drawn[0, 30].tolist() == drawn[59, 30].tolist() == [255, 1, 0]


def test_annotated_figure_mask_takes_the_colour_of_its_class(style: Style) -> None:
    area = np.zeros((60, 60), bool)
    area[10:20, 10:20] = True
    drawn = draw_figure(figure(size=(60, 60), tints=[(2, area)]), style)
    assert (drawn != GREY).any(axis=-1).tolist() == area.tolist()
    assert drawn[15, 15, 0] > GREY > drawn[15, 15, 1]


def test_annotated_figure_image_given_stays_as_it_was(style: Style) -> None:
    given = figure((10, 10, 50, 50))
    draw_figure(given, style)
    assert (given.image == GREY).all()


def test_annotated_figure_fitted_figure_keeps_its_proportions() -> None:
    area = np.zeros((100, 50), bool)
    area[:50] = True
    fitted = figure((10, 10, 30, 20), size=(100, 50), tints=[(1, area)]).fitted(200)
    assert fitted.image.shape == (200, 100, 3)
    assert fitted.boxes.tolist() == [[20, 20, 60, 40]]
    assert fitted.tints[0][1][:99].all()
    assert not fitted.tints[0][1][101:].any()


@pytest.mark.parametrize(("text", "width"), [("a name that is far too long to fit", 60), ("abc", 1), ("", 0)])
def test_annotated_figure_text_too_long_loses_its_middle(text: str, width: int, style: Style) -> None:
    font = style.font(12)
    short = shortened(text, font, width)
    assert short in {text, "…"} or (short[0] == text[0] and short[-1] == text[-1] and "…" in short)
    assert short == "…" or font.getlength(short) <= width
