"""Objective of both heads: the losses of each, with a normalizer of its own."""

from typing import Any

import numpy as np
from efficientdet.box_map_training import BoxMapObjective, map_stride
from efficientdet.losses import LossOptions
from efficientdet.segmentation_losses import SegmentationLossOptions
from efficientdet.segmentation_training import SegmentationObjective
from efficientdet.training_model import DetectionObjective
from tiny_network import tiny_config

CONFIG = tiny_config(heads=["object_detection", "segmentation"], seg_num_classes=3)


def batch() -> tuple[dict[str, Any], tuple[np.ndarray, ...]]:
    random = np.random.default_rng(0)
    sides = {level: 64 // 2**level for level in CONFIG.levels}
    outputs: dict[str, Any] = {
        "class": {level: random.normal(size=(2, side, side, 18)).astype("f") for level, side in sides.items()},
        "box": {level: random.normal(size=(2, side, side, 36)).astype("f") for level, side in sides.items()},
        "segmentation": random.normal(size=(2, 16, 16, 3)).astype("f"),
    }
    boxes = np.full((2, 3, 4), -1, "f")
    boxes[:, 0] = 8, 8, 40, 40
    class_ids = np.array([[1, -1, -1], [2, -1, -1]], np.int32)
    maps = random.integers(0, 3, (2, 64, 64)).astype(np.int32)
    maps[1, :, 32:] = 255
    return outputs, (boxes, class_ids, maps)


def test_box_map_objective_adds_the_losses_of_both_heads() -> None:
    boxes = DetectionObjective(CONFIG, LossOptions())
    maps = SegmentationObjective(SegmentationLossOptions())
    objective, (outputs, truth) = BoxMapObjective(CONFIG, boxes, maps), batch()
    assert objective.loss_names == ("class_loss", "box_loss", "segmentation_loss")
    targets = objective.targets(truth)
    count = objective.count(targets)
    assert np.asarray(targets[1]).shape == (2, 16, 16)
    # Half of the second map is ignored.
    assert float(count[1]) == 256 + 128
    total, terms = objective.terms(outputs, targets, objective.normalizer(count))

    plain = boxes.targets(truth[:2])
    of_boxes, _ = boxes.terms(outputs, plain, boxes.normalizer(boxes.count(plain)))
    small = truth[2][:, 2::4, 2::4]
    of_maps, _ = maps.terms(outputs["segmentation"], small, maps.normalizer(maps.count(small)))
    np.testing.assert_allclose(float(total), float(of_boxes) + float(of_maps), rtol=1e-6)
    np.testing.assert_allclose(float(terms["segmentation_loss"]), float(of_maps), rtol=1e-6)


def test_map_stride_is_half_that_of_the_finest_level() -> None:
    assert map_stride(CONFIG) == 4
