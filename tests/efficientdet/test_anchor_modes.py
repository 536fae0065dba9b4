"""Tests of the number and position of the priors of each mode."""

import numpy as np
import pytest
from efficientdet.anchor_modes import MODES, mode_of_number, mode_priors
from efficientdet.anchors import anchor_boxes
from efficientdet.config import get_config


@pytest.mark.parametrize(
    ("mode", "size", "count"),
    [
        ("efficientdet", (512, 512), 49_104),
        ("efficientdet", (768, 768), 110_484),
        ("efficientdet", (176, 228), 7_803),
        ("efficientdet", (256, 256), 12_276),
        ("anchor_free", (256, 256), 1_364),
        ("yolor", (256, 256), 4_092),
        ("yolov8", (256, 256), 1_364),
    ],
)
def test_mode_priors_number(mode: str, size: tuple[int, int], count: int) -> None:
    priors = mode_priors(mode, size, range(3, 8))
    assert priors.shape == (count, 4)
    assert priors.dtype == np.float32
    regression_len = 64 if mode == "yolov8" else 4
    assert mode_of_number(count, size, regression_len=regression_len) == (mode, 7)


def test_mode_priors_of_efficientdet_are_the_networks() -> None:
    np.testing.assert_array_equal(
        mode_priors("efficientdet", (512, 512), range(3, 8)), anchor_boxes(get_config("efficientdet-d0"))
    )


def test_mode_priors_centers_and_sizes() -> None:
    corner, center = mode_priors("anchor_free", (64, 64), [3, 4, 5]), mode_priors("yolov8", (64, 64), [3, 4, 5])
    np.testing.assert_array_equal(corner[:2], [[-4, -4, 4, 4], [-4, 4, 4, 12]])
    np.testing.assert_array_equal(center[:2], [[0, 0, 8, 8], [0, 8, 8, 16]])
    yolor = mode_priors("yolor", (64, 64), [3, 4, 5])
    np.testing.assert_array_equal(yolor[:3, 2:] - yolor[:3, :2], [[16, 12], [36, 19], [28, 40]])
    np.testing.assert_array_equal((yolor[:6, :2] + yolor[:6, 2:]) / 2, [[4, 4]] * 3 + [[4, 12]] * 3)


def test_mode_refuses() -> None:
    with pytest.raises(ValueError, match="Unknown anchor mode 'yolox'"):
        mode_priors("yolox", (64, 64), range(3, 8))
    with pytest.raises(ValueError, match=r"preset anchors for levels 3 to 5, 3 to 6, 3 to 7. Received levels 2 to 5"):
        mode_priors("yolor", (64, 64), range(2, 6))
    with pytest.raises(ValueError, match="No anchor mode gives 77 priors at 64x64"):
        mode_of_number(77, (64, 64))
    assert [mode for mode, what in MODES.items() if what.has_object_score] == ["anchor_free", "yolor"]
