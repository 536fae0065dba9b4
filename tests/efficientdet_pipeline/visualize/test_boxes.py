"""Boxes and names on an image."""

import itertools

import numpy as np
import pytest

from efficientdet_pipeline.visualize.boxes import class_color, draw_detections

GREY = 120


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def drawn_pixels(image: np.ndarray) -> np.ndarray:
    return (image != GREY).any(axis=-1)


def test_boxes_box_has_its_classs_colour_where_it_should_be() -> None:
    original = grey(200, 300)
    image = draw_detections(original, np.array([[50, 60, 150, 250]]), np.array([2]), label_map={2: "cat"})
    for y, x in ((100, 60), (100, 250), (150, 150), (50, 240)):
        assert tuple(image[y, x]) == class_color(2)
    assert not drawn_pixels(image)[80:140, 80:240].any()
    assert (original == GREY).all()


def test_boxes_low_scores_are_not_drawn() -> None:
    boxes = np.array([[50, 60, 150, 250], [10, 10, 20, 20]])
    picture = {"label_map": {1: "cat"}, "min_score": 0.5}
    both = draw_detections(grey(200, 300), boxes, np.array([1, 1]), np.array([0.9, 0.4]), **picture)
    one = draw_detections(grey(200, 300), boxes[:1], np.array([1]), np.array([0.9]), **picture)
    np.testing.assert_array_equal(both, one)


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), np.full((1, 4), np.nan)])
def test_boxes_nothing_to_draw_leaves_the_image(boxes: np.ndarray) -> None:
    image = draw_detections(grey(40, 40), boxes, np.ones(len(boxes)), label_map={})
    assert not drawn_pixels(image).any()


@pytest.mark.parametrize("name", ["Äpfel", "кошка", "γάτα", "قطة", "猫", "🦊", "", "two\nlines", "n" * 300])
@pytest.mark.parametrize("size", [(1, 1), (30, 40), (300, 400)])
def test_boxes_any_name_fits_into_any_image(name: str, size: tuple[int, int]) -> None:
    image = draw_detections(grey(*size), np.array([[-50, -50, 999, 999]]), np.array([1]), label_map={1: name})
    assert image.shape == (*size, 3)
    assert drawn_pixels(image).any()


def test_boxes_names_are_written_in_their_own_letters() -> None:
    pictures = [
        draw_detections(grey(100, 200), np.array([[50, 20, 90, 180]]), np.array([1]), label_map={1: name})
        for name in ("???", "кот", "гав", "é", "e")
    ]
    assert all((one != other).any() for one, other in itertools.combinations(pictures, 2))


@pytest.mark.parametrize("box", [[0, 0, 20, 20], [0, 280, 20, 300], [180, 270, 200, 300], [90, 295, 110, 400]])
def test_boxes_label_stays_whole_at_every_border(box: list[float]) -> None:
    image = draw_detections(grey(200, 300), np.array([box]), np.array([1]), label_map={1: "elephant"})
    label = (image == class_color(1)).all(axis=-1)
    letters = (image == 0).all(axis=-1) & drawn_pixels(image)
    # The label is as complete as in the centre of the image.
    middle = draw_detections(grey(200, 300), np.array([[90, 90, 110, 110]]), np.array([1]), label_map={1: "elephant"})
    assert label.any(axis=0).sum() >= (middle == class_color(1)).all(axis=-1).any(axis=0).sum() - 1
    assert letters.any()


def test_boxes_lines_grow_with_the_image() -> None:
    def line_width(side: int) -> int:
        image = draw_detections(
            grey(side, side), np.array([[side // 2, 5, side - 5, side - 5]]), [1], label_map={1: "a"}
        )
        return int((image[side * 3 // 4, : side // 2] == class_color(1)).all(axis=-1).sum())

    assert line_width(100) == 2
    assert line_width(2000) >= 6


def test_boxes_labels_step_aside_for_better_ones() -> None:
    boxes = np.array([[100, 50, 160, 150], [101, 51, 161, 151]])
    image = draw_detections(grey(300, 300), boxes, [1, 2], [0.9, 0.8], label_map={1: "cat", 2: "dog"})
    above, inside = image[88:98, 55:100], image[105:112, 55:100]
    assert (above == class_color(1)).all(axis=-1).any()
    assert (inside == class_color(2)).all(axis=-1).any()


def test_boxes_classes_differ_in_colour() -> None:
    colors = [class_color(class_id) for class_id in range(1, 91)]
    assert len(set(colors)) == 90
    distances = [np.abs(np.subtract(one, other)).sum() for one, other in itertools.combinations(colors[:12], 2)]
    assert min(distances) > 60
    assert class_color(0) == class_color(1)
