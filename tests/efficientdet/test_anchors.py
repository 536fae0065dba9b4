import numpy as np
import pytest
from efficientdet.anchors import anchor_boxes, anchor_grid, feature_sizes, pyramid_sizes
from efficientdet.config import get_config

# automl.md 5.1: anchors of every published model at its own image size.
NUM_ANCHORS = {
    "d0": 49_104,
    "d1": 76_725,
    "d2": 110_484,
    "d3": 150_381,
    "d4": 196_416,
    "d5": 306_900,
    "d6": 306_900,
    "d7": 441_936,
    "d7x": 442_260,
    "lite0": 19_206,
    "lite1": 27_621,
    "lite2": 37_629,
    "lite3": 49_104,
    "lite3x": 76_725,
    "lite4": 76_725,
}
D0 = {"num_scales": 3, "aspect_ratios": [1.0, 2.0, 0.5], "anchor_scale": 4.0}


@pytest.mark.parametrize(("model", "count"), NUM_ANCHORS.items())
def test_anchors_every_model_has_its_number_of_anchors(model: str, count: int) -> None:
    config = get_config(f"efficientdet-{model}")
    anchors = anchor_boxes(config)
    assert anchors.shape == (count, 4)
    assert anchors.dtype == np.float32
    assert count == 9 * sum(height * width for height, width in feature_sizes(config).values())


def test_anchors_first_and_last_anchors_of_d0() -> None:
    anchors = anchor_boxes(get_config("efficientdet-d0"))
    first = [
        [-12, -12, 20, 20],
        [-7.3137, -18.6274, 15.3137, 26.6274],
        [-18.6274, -7.3137, 26.6274, 15.3137],
        [-16.1587, -16.1587, 24.1587, 24.1587],
    ]
    last = [
        [41.6253, 41.6253, 854.3747, 854.3747],
        [160.6497, -126.7006, 735.3503, 1022.7006],
        [-126.7006, 160.6497, 1022.7006, 735.3503],
    ]
    np.testing.assert_allclose(anchors[:4], first, atol=1e-4)
    np.testing.assert_allclose(anchors[-3:], last, atol=1e-4)


def test_anchors_levels_halve_and_round_up() -> None:
    assert pyramid_sizes((320, 512), 3, 7) == {3: (40, 64), 4: (20, 32), 5: (10, 16), 6: (5, 8), 7: (3, 4)}


def test_anchors_strides_are_fractions_where_sizes_do_not_divide() -> None:
    anchors = anchor_grid({7: (3, 3)}, (320, 320), num_scales=1, aspect_ratios=[1.0], anchor_scale=3.0)
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_allclose(centers[:3, 1], [320 / 6, 160, 320 * 5 / 6], rtol=1e-6)
    np.testing.assert_allclose(anchors[:, 2] - anchors[:, 0], 320.0, rtol=1e-6)


def test_anchors_order_is_row_column_octave_aspect() -> None:
    anchors = anchor_grid({3: (2, 3)}, (16, 24), **D0).reshape(2, 3, 3, 3, 4)
    center = (anchors[..., :2] + anchors[..., 2:]) / 2
    size = anchors[..., 2:] - anchors[..., :2]
    np.testing.assert_allclose(center[1, 2, :, :], np.broadcast_to([12.0, 20.0], (3, 3, 2)), rtol=1e-6)
    np.testing.assert_allclose(size[0, 0, :, 0, 0], 32 * 2 ** (np.arange(3) / 3), rtol=1e-6)
    np.testing.assert_allclose(size[0, 0, 0, :, 1] / size[0, 0, 0, :, 0], [1, 2, 0.5], rtol=1e-6)


def test_anchors_aspect_may_be_width_and_height_factors() -> None:
    anchors = anchor_grid({3: (1, 1)}, (8, 8), num_scales=1, aspect_ratios=[(1.4, 0.7)], anchor_scale=4.0)
    np.testing.assert_allclose(anchors[0, 2:] - anchors[0, :2], [0.7 * 32, 1.4 * 32], rtol=1e-6)


def test_anchors_one_anchor_scale_for_each_level() -> None:
    sizes = {3: (1, 1), 4: (1, 1)}
    anchors = anchor_grid(sizes, (8, 8), num_scales=1, aspect_ratios=[1.0], anchor_scale=[1.0, 2.0])
    assert (anchors[:, 2] - anchors[:, 0]).tolist() == [8.0, 16.0]
    with pytest.raises(ValueError, match=r"one for each of the 2 levels \[3, 4\]. Received 3 values"):
        anchor_grid(sizes, (8, 8), num_scales=1, aspect_ratios=[1.0], anchor_scale=[1.0, 2.0, 3.0])
