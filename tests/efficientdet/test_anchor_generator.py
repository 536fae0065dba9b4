"""Tests of the anchor generator: mmdet's anchors with y first."""

import numpy as np
import pytest
from efficientdet.anchor_generator import AnchorGenerator


def test_grid_priors_of_the_published_vector() -> None:
    generator = AnchorGenerator(strides=(10,), ratios=(1.0,), scales=(1.0,), base_sizes=(10.0,))
    (anchors,) = generator.grid_priors([(2, 2)])
    assert anchors.tolist() == [[-5, -5, 5, 5], [-5, 5, 5, 15], [5, -5, 15, 5], [5, 5, 15, 15]]
    assert (generator.num_levels, generator.num_base_anchors) == (1, (1,))


def test_base_anchors_ratios_and_octaves() -> None:
    generator = AnchorGenerator(
        strides=(8, 16), ratios=(0.5, 1.0, 2.0), octave_base_scale=4.0, scales_per_octave=3, center_offset=0.5
    )
    anchors = generator.base_anchors(0)
    height, width = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    np.testing.assert_allclose(height / width, np.repeat([0.5, 1.0, 2.0], 3), rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(height * width), np.tile(32 * 2 ** (np.arange(3) / 3), 3), rtol=1e-5)
    np.testing.assert_allclose((anchors[:, :2] + anchors[:, 2:]) / 2, 4.0, atol=1e-5)
    by_scale = AnchorGenerator(strides=(8,), ratios=(0.5, 2.0), scales=(1.0, 2.0), scale_major=False).base_anchors(0)
    sides = by_scale[:, 2] - by_scale[:, 0]
    np.testing.assert_allclose(sides, 8 * np.sqrt([0.5, 2.0, 0.5, 2.0]) * [1, 1, 2, 2], rtol=1e-5)


def test_sparse_priors_are_those_of_the_grid() -> None:
    generator = AnchorGenerator(strides=((8, 4), (16, 8)), ratios=(0.5, 2.0), scales=(1.0,))
    grid = generator.grid_priors([(3, 5), (2, 3)])
    assert grid[0][2 * 5 + 0, 0] - grid[0][0, 0] == pytest.approx(4.0)
    ids = np.array([0, 7, 29])
    np.testing.assert_array_equal(generator.sparse_priors(ids, (3, 5), 0), grid[0][ids])


def test_valid_flags_leave_out_padding() -> None:
    generator = AnchorGenerator(strides=(8,), ratios=(1.0, 2.0), scales=(1.0,))
    (flags,) = generator.valid_flags([(3, 4)], (17, 16))
    assert flags.reshape(3, 4, 2)[:, :, 0].tolist() == [[True, True, False, False]] * 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "scales, or octave_base_scale and scales_per_octave, must be given"),
        ({"scales": (1.0,), "octave_base_scale": 4.0, "scales_per_octave": 3}, "and not both"),
        ({"octave_base_scale": 4.0}, "must be given"),
        ({"scales": (1.0,), "center_offset": 1.5}, "center_offset must be 0 to 1"),
        ({"scales": (1.0,), "ratios": (-1.0,)}, "must be above 0"),
        ({"scales": (1.0,), "base_sizes": (1.0, 2.0)}, "base_sizes must have one entry for each of 1 strides"),
    ],
)
def test_anchor_generator_refuses(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnchorGenerator(**{"strides": (8,), "ratios": (1.0,), **fields})


def test_grid_priors_refuse_other_levels() -> None:
    with pytest.raises(ValueError, match="one feature map for each of 1 strides"):
        AnchorGenerator(strides=(8,), ratios=(1.0,), scales=(1.0,)).grid_priors([(2, 2), (1, 1)])
