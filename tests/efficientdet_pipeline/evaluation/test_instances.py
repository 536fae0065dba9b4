"""Ground truth and detections as flat arrays."""

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.instances import flatten, iou_xywh
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOXES = np.array([[1.0, 2.0, 11.0, 22.0]])


def test_flatten_orders_images_as_coco_does() -> None:
    truth = [TruthImage(name, BOXES, np.array([3])) for name in ("10", "b", "9", "a")]
    detected = [ImageDetections(BOXES, np.array([0.5]), np.array([4.0]), source_id="9")]
    instances = flatten(truth, detected, {1: "cat"})
    assert instances.source_ids == ("9", "10", "a", "b")
    assert instances.class_ids == (1, 3)
    assert instances.truth.images.tolist() == [0, 1, 2, 3]
    assert instances.found.images.tolist() == [0]
    assert instances.found.class_ids.tolist() == [4]
    assert instances.found.boxes_xywh.tolist() == [[2, 1, 20, 10]]
    assert (len(instances.truth), len(instances.found)) == (4, 1)


def test_flatten_takes_the_area_of_the_box_where_none_is_stated() -> None:
    stated = TruthImage("1", np.repeat(BOXES, 2, axis=0), np.array([1, 1]), areas=np.array([50.0, 0.0]))
    instances = flatten([stated, TruthImage("2", BOXES, np.array([1]))], [], {})
    assert instances.truth.areas.tolist() == [50, 200, 200]
    assert instances.truth.is_crowd.tolist() == [False] * 3


def test_flatten_refuses_arrays_of_unequal_length() -> None:
    with pytest.raises(ValueError, match=r"class_ids must have one entry for each box\. Received 2 for 1"):
        flatten([TruthImage("1", BOXES, np.array([1, 2]))], [], {})


def test_iou_xywh_of_boxes_and_crowds() -> None:
    boxes, truths = (
        np.array([[0.0, 0, 10, 10]]),
        np.array([[5.0, 0, 10, 10], [5, 0, 10, 10], [50, 50, 1, 1], [0, 0, 0, 0]]),
    )
    is_crowd = np.array([False, True, False, False])
    np.testing.assert_allclose(iou_xywh(boxes, truths, is_crowd), [[1 / 3, 1 / 2, 0, 0]])
    assert iou_xywh(np.zeros((0, 4)), truths).shape == (0, 4)
