"""Tests of anchor-free and YOLO-style heads: decoding, losses computed by hand, and training."""

import efficientdet
import keras
import numpy as np
import pytest
from efficientdet.heads.yolov8_head import _distribution_focal_loss
from efficientdet.label_assignment.anchor_ratio import AnchorRatioAssigner
from efficientdet.label_assignment.assignment import Objects, Priors
from efficientdet.types import GroundTruth
from keras import ops

IMAGES = np.random.RandomState(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
TRUTH = GroundTruth(
    np.float32([[[8, 8, 40, 36], [30, 30, 60, 60]], [[4, 20, 24, 50], [-1, -1, -1, -1]]]), np.int32([[1, 3], [2, 0]])
)


def built(name: str, **fields: object) -> keras.Model:
    return efficientdet.build_detector(
        {
            "image_size": 64,
            "backbone": "efficientnet-lite0",
            "neck": {"name": "bifpn", "filters": 16, "repeats": 1, "min_level": 3, "max_level": 5},
            "head": {"name": name, "num_classes": 3, "filters": 16, "num_heads": 1, **fields},
        }
    )


def outputs_of(detector: keras.Model, **values: float) -> dict:
    """Returns the outputs of a head with constant predictions."""
    return {
        name: {level: np.full(x.shape, values.get(name, 0.0), np.float32) for level, x in pyramid.items()}
        for name, pyramid in detector(IMAGES).items()
    }


@pytest.mark.parametrize(
    "name", ["anchor_free", *(pytest.param(name, marks=pytest.mark.slow) for name in ("yolor", "yolov8"))]
)
def test_cell_heads_learns(name: str) -> None:
    keras.utils.set_random_seed(0)
    detector = built(name)
    # Tracing the backbone's gradient would take most of the time.
    detector.backbone.trainable = False
    detector.compile(keras.optimizers.SGD(0.02, momentum=0.9))
    losses = [detector.train_on_batch(IMAGES, TRUTH, return_dict=True) for _ in range(25)]
    assert set(losses[0]) == {"loss", *detector.head.loss_names, "reg_l2_loss"}
    assert losses[-1]["loss"] < losses[0]["loss"]
    assert all(np.isfinite(list(entry.values())).all() for entry in losses)
    candidates = detector.decode(detector(IMAGES))
    cells = 64 + 16 + 4
    assert candidates.boxes.shape == (2, cells * {"yolor": 3}.get(name, 1), 4)
    assert candidates.scores.shape[1:] == (candidates.boxes.shape[1], 3)


@pytest.mark.parametrize("name", ["anchor_free", "yolor", "yolov8"])
def test_cell_heads_without_objects(name: str) -> None:
    detector = built(name)
    terms = detector.losses(detector(IMAGES), GroundTruth(np.zeros((2, 0, 4)), np.zeros((2, 0))))
    assert float(terms["box_loss"]) == 0.0
    assert np.isfinite(float(terms["loss"]))


def test_cell_heads_anchor_free_decodes_from_the_corner() -> None:
    detector = built("anchor_free")
    boxes, scores = (ops.convert_to_numpy(value) for value in detector.decode(outputs_of(detector)))
    np.testing.assert_allclose(boxes[0, :2], [[-4, -4, 4, 4], [-4, 4, 4, 12]], atol=1e-5)
    np.testing.assert_allclose(scores, 0.25)


def test_cell_heads_anchor_free_losses_by_hand() -> None:
    detector = built("anchor_free", use_l1_loss=True)
    truth = GroundTruth(np.float32([[[-4, -4, 4, 4]], [[-1, -1, -1, -1]]]), np.int32([[2], [0]]))
    terms = detector.losses(outputs_of(detector), truth)
    # The cell at the corner predicts exactly this box; its center is outside of it, at (4, 4), but near.
    count = 2 * (64 + 16 + 4)
    assert float(terms["object_loss"]) == pytest.approx(count * np.log(2), rel=1e-4)
    assert float(terms["class_loss"]) == pytest.approx(3 * np.log(2), rel=1e-4)
    assert float(terms["box_loss"]) == pytest.approx(0.0, abs=1e-4)
    assert float(terms["l1_loss"]) == pytest.approx(0.0, abs=1e-4)


def test_cell_heads_yolor_decodes_the_anchors_themselves() -> None:
    detector = built("yolor")
    boxes, scores = (ops.convert_to_numpy(value) for value in detector.decode(outputs_of(detector)))
    np.testing.assert_allclose(boxes[0, 0], [4 - 8, 4 - 6, 4 + 8, 4 + 6], atol=1e-4)
    np.testing.assert_allclose(scores, 0.25)
    moved = ops.convert_to_numpy(detector.decode(outputs_of(detector, box=100.0)).boxes)[0, 0]
    # c = (2 p + grid - 0.5) strides, sides = (2 p)^2 anchors.
    np.testing.assert_allclose(moved, [12 - 32, 12 - 24, 12 + 32, 12 + 24], atol=1e-3)


def test_cell_heads_yolor_object_loss_by_hand() -> None:
    detector = built("yolor")
    terms = detector.losses(outputs_of(detector), GroundTruth(np.zeros((2, 0, 4)), np.zeros((2, 0))))
    assert float(terms["object_loss"]) == pytest.approx(0.7 * (4 + 1 + 0.4) * np.log(2), rel=1e-5)


def test_cell_heads_yolov8_decodes_expected_distances() -> None:
    detector = built("yolov8")
    outputs = outputs_of(detector)
    boxes = ops.convert_to_numpy(detector.decode(outputs).boxes)
    # Sixteen equal bins: 7.5 strides to each side of the cell's center.
    np.testing.assert_allclose(boxes[0, 0], [4 - 60, 4 - 60, 4 + 60, 4 + 60], atol=1e-3)
    outputs["box"][3][..., 2] = 100.0
    boxes = ops.convert_to_numpy(detector.decode(outputs).boxes)
    assert boxes[0, 0, 0] == pytest.approx(4 - 2 * 8, abs=1e-3)
    assert boxes[0, 0, 3] == pytest.approx(64, abs=1e-3)


def test_distribution_focal_loss() -> None:
    logits = np.float32([[0.3, -0.2, 1.0, 0.1]])
    log_share = logits[0] - np.log(np.exp(logits[0]).sum())
    value = float(_distribution_focal_loss(logits, np.float32([1.25]), 4)[0])
    assert value == pytest.approx(-(0.75 * log_share[1] + 0.25 * log_share[2]), rel=1e-5)


def test_anchor_ratio_assigner_takes_own_cell_and_neighbours() -> None:
    shapes = {3: np.float32([[8, 8], [100, 100]])}
    assigner = AnchorRatioAssigner(sizes={3: (4, 4)}, strides={3: (8.0, 8.0)}, shapes=shapes)
    priors = Priors(np.zeros((32, 4), np.float32), np.full(32, 8, np.float32), (32,))
    # Center (10, 14): cell (1, 1), 0.25 down and 0.75 across in it, so the neighbours above and to the right.
    objects = Objects(np.float32([[6, 10, 14, 18]]), np.int32([0]), np.array([True]))
    row = ops.convert_to_numpy(assigner(priors, objects).row)
    assert np.flatnonzero(row == 0).tolist() == [(0 * 4 + 1) * 2, (1 * 4 + 1) * 2, (1 * 4 + 2) * 2]
    at_edge = Objects(np.float32([[-3, -3, 5, 5]]), np.int32([0]), np.array([True]))
    assert np.flatnonzero(ops.convert_to_numpy(assigner(priors, at_edge).row) == 0).tolist() == [0]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("anchor_free", {"assigner": {"name": "sim_ota"}}, "Did you mean sim_ota_assigner"),
        ("anchor_free", {"norm_cfg": "bn"}, "Unknown norm_cfg 'bn'"),
        ("anchor_free", {"use_l1": True}, "Did you mean use_l1_loss"),
        ("yolov8", {"num_bins": 1}, "num_bins must be 2 or more"),
        ("yolor", {"max_ratio": 1.0}, "max_ratio must be above 1"),
        ("yolov8", {"num_classes": 0}, "num_classes and filters must be 1 or more"),
    ],
)
def test_cell_heads_refuse(name: str, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(name, **fields)
