"""Tests of the losses of a config against formulas in numpy, and of the box coder."""

import numpy as np
import pytest
from efficientdet.delta_coder import DeltaCoder
from efficientdet.detection_losses import (
    BinaryCrossEntropyLoss,
    BoxPair,
    CiouLoss,
    FocalLoss,
    GiouLoss,
    IouLoss,
    QualityFocalLoss,
    SmoothL1Loss,
)
from efficientdet.types import BACKGROUND, IGNORED
from keras import ops

LOGITS = np.random.RandomState(0).normal(size=(2, 4, 3)).astype(np.float32)
CLASS_INDEX = np.int32([[0, 2, BACKGROUND, IGNORED], [1, BACKGROUND, BACKGROUND, 0]])
QUALITY = np.float32([[0.9, 0.3, 0, 0], [0.5, 0, 0, 1.0]])


def soft_targets() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target = np.zeros(LOGITS.shape)
    for place in np.argwhere(CLASS_INDEX >= 0):
        target[(*place, CLASS_INDEX[tuple(place)])] = QUALITY[tuple(place)]
    probability = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    entropy = -(target * np.log(probability) + (1 - target) * np.log(1 - probability))
    return target, probability, entropy * (CLASS_INDEX != IGNORED)[..., None]


def test_quality_focal_loss() -> None:
    target, probability, entropy = soft_targets()
    expected = (np.abs(target - probability) ** 2 * entropy).sum()
    assert float(QualityFocalLoss()(LOGITS, CLASS_INDEX, QUALITY)) == pytest.approx(expected, rel=1e-5)


def test_binary_cross_entropy_loss() -> None:
    assert float(BinaryCrossEntropyLoss()(LOGITS, CLASS_INDEX, QUALITY)) == pytest.approx(
        soft_targets()[2].sum(), rel=1e-5
    )


def test_focal_loss_has_the_fields_of_a_config() -> None:
    logits, index = np.float32([[[2.0, -1.0]]]), np.int32([[0]])
    probability = 1 / (1 + np.exp([-2.0, 1.0]))
    expected = -0.25 * (1 - probability[0]) ** 2 * np.log(probability[0])
    expected += -0.75 * probability[1] ** 2 * np.log(1 - probability[1])
    assert float(FocalLoss()(logits, index, None)) == pytest.approx(expected, rel=1e-5)
    for loss in (FocalLoss, QualityFocalLoss):
        with pytest.raises(ValueError, match="use_sigmoid must be true"):
            loss(use_sigmoid=False)


def test_smooth_l1_loss() -> None:
    deltas = np.float32([[[0.05, 2.0, 0, 0], [9, 9, 9, 9]]])
    pair = BoxPair(deltas, np.zeros_like(deltas), deltas, deltas)
    value = float(SmoothL1Loss(beta=0.1)(pair, np.array([[True, False]])))
    assert value == pytest.approx(0.5 * 0.05**2 / 0.1 + 2.0 - 0.05, rel=1e-5)
    with pytest.raises(ValueError, match="beta must be above 0"):
        SmoothL1Loss(beta=0)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (IouLoss(), 1 - 1 / 3),
        (IouLoss(squared=True), 1 - 1 / 9),
        (GiouLoss(), 1 - 1 / 3),
        (CiouLoss(), 1 - 1 / 3 + 1 / 13),
    ],
    ids=str,
)
def test_detection_losses_iou_losses(loss: IouLoss, expected: float) -> None:
    boxes = np.float32([[[0, 0, 2, 2], [0, 0, 0, 0]]])
    targets = np.float32([[[0, 1, 2, 3], [0, 0, 0, 0]]])
    pair = BoxPair(boxes, boxes, boxes, targets)
    assert float(loss(pair, np.array([[True, False]]))) == pytest.approx(expected, abs=1e-5)


def test_iou_loss_kind_is_known() -> None:
    with pytest.raises(ValueError, match=r"Unknown kind 'giuo'. Did you mean giou"):
        IouLoss(kind="giuo")


def test_delta_coder_round_trip_and_factors() -> None:
    random = np.random.RandomState(2)
    corners = random.uniform(0, 50, (3, 7, 2))
    boxes = np.concatenate([corners, corners + random.uniform(4, 40, (3, 7, 2))], axis=-1).astype(np.float32)
    priors = np.concatenate([corners[0] - 3, corners[0] + 20], axis=-1).astype(np.float32)
    coder = DeltaCoder(scale_factors=(10.0, 10.0, 5.0, 5.0))
    deltas = coder.encode(boxes, priors)
    np.testing.assert_allclose(ops.convert_to_numpy(coder.decode(deltas, priors)), boxes, rtol=1e-4, atol=1e-3)
    plain = ops.convert_to_numpy(DeltaCoder().encode(boxes, priors))
    np.testing.assert_allclose(ops.convert_to_numpy(deltas), plain * [10, 10, 5, 5], rtol=1e-5)
    with pytest.raises(ValueError, match="scale_factors must be above 0"):
        DeltaCoder(scale_factors=(0.0, 1.0, 1.0, 1.0))
