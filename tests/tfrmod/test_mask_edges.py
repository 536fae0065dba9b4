"""Tests of the values that interpolation makes."""

import numpy as np
import pytest
from PIL import Image

from tfrmod.mask_edges import edge_counts


def disks(value: int) -> np.ndarray:
    down, across = np.mgrid[:96, :96]
    return (((down % 32 - 16) ** 2 + (across % 32 - 16) ** 2 < 100) * value).astype(np.uint8)


@pytest.mark.parametrize("way", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX])
def test_edge_counts_of_resized_masks(way: Image.Resampling) -> None:
    small = np.asarray(Image.fromarray(disks(255)).resize((70, 70), way))
    found = edge_counts([small])
    assert found.is_smoothed
    assert not edge_counts([np.where(small > 127, 255, 0).astype(np.uint8)]).is_smoothed
    ids = np.asarray(Image.fromarray(disks(4)).resize((70, 70), way))
    assert {1, 2, 3} & set(edge_counts([ids]).interpolated)
    assert 4 not in edge_counts([ids]).interpolated


def test_edge_counts_of_classes_with_borders_and_lines() -> None:
    values = disks(15)
    values[40:42] = 7
    rim = (values != np.roll(values, 1, 0)) | (values != np.roll(values, 1, 1))
    bordered = np.where(rim, 255, values).astype(np.uint8)
    for each in (values, bordered):
        assert edge_counts([each]).interpolated == []
        assert not edge_counts([each]).is_smoothed
    assert edge_counts([values]).pixels.sum() == values.size
