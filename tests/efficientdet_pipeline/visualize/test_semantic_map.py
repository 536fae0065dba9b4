"""Overlays tint only pixels with a class."""

import numpy as np
import pytest

from efficientdet_pipeline.visualize.boxes import class_color
from efficientdet_pipeline.visualize.semantic_map import color_map, compare_maps, legend_entries, overlay_classes

IMAGE = np.full((30, 40, 3), 100, np.uint8)
MAP = np.zeros((30, 40), np.uint8)
MAP[5:15, 5:15], MAP[20:28, 20:28] = 1, 255


def test_color_map_gives_each_class_its_colour() -> None:
    colors = color_map(MAP)
    assert tuple(colors[10, 10]) == class_color(1)
    assert (colors[MAP != 1] == 0).all()
    assert tuple(color_map(np.zeros((1, 1), np.uint8), background=None)[0, 0]) == class_color(1)


def test_overlay_classes_mixes_areas_and_draws_their_edges() -> None:
    found = overlay_classes(IMAGE, MAP, opacity=0.25)
    assert (found[MAP != 1] == 100).all()
    np.testing.assert_allclose(found[10, 10], 75 + 0.25 * np.array(class_color(1)), atol=1)
    assert tuple(found[5, 10]) == class_color(1)
    with pytest.raises(ValueError, match="must have the image's size"):
        overlay_classes(IMAGE, MAP[:-1])


def test_compare_maps_shows_four_pictures() -> None:
    sheet = compare_maps(IMAGE, MAP, np.zeros_like(MAP))
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > 4 * 40


def test_legend_entries_are_shares_of_what_counts() -> None:
    [(first, most), (second, least)] = legend_entries(MAP, {0: "background", 1: "cat"})
    assert (first, second) == ("background", "cat")
    assert least == pytest.approx(100 / (1200 - 64))
    assert most + least == pytest.approx(1)
