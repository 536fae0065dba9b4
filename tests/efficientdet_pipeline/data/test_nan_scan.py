"""The scan finds non-finite values, and accepts finite ones."""

import numpy as np
from efficientdet.config import get_config
from efficientdet.types import GroundTruth

from efficientdet_pipeline.data.nan_scan import scan_for_nan

CONFIG = get_config("efficientdet-d0", image_size=64, num_classes=2)


def batch() -> tuple[np.ndarray, GroundTruth]:
    boxes = np.array([[[4, 4, 30, 40], [-1, -1, -1, -1]], [[-1, -1, -1, -1]] * 2], np.float32)
    return np.zeros((2, 64, 64, 3), np.float32), GroundTruth(boxes, np.array([[1, -1], [-1, -1]], np.int32))


def test_scan_for_nan_of_sound_batches() -> None:
    scan = scan_for_nan(iter([batch()] * 5), CONFIG, max_batches=3)
    assert scan.is_clean
    assert (scan.num_images, scan.num_boxes, scan.num_without_boxes) == (6, 3, 3)
    assert str(scan) == "6 images, 3 boxes, 3 images without a box: every number is finite."


def test_scan_for_nan_names_batch_image_and_fault() -> None:
    images, truth = batch()
    images[1, 3, 3, 0] = np.inf
    truth.boxes[0, 0, 2] = np.nan
    truth.class_ids[0, 0] = 3
    scan = scan_for_nan([batch(), (images, truth)], CONFIG)
    found = {(finding.batch, finding.row, finding.what) for finding in scan.findings}
    assert {
        (1, 1, "the image contains NaN or infinity"),
        (1, 0, "a box contains NaN or infinity"),
        (1, 0, "a class id is above 2"),
    } <= found
    assert not any(finding.batch == 0 for finding in scan.findings)
    assert "batch 1, image 0: a box contains NaN or infinity" in str(scan)


def test_scan_for_nan_of_a_box_without_area() -> None:
    images, truth = batch()
    truth.boxes[0, 0] = [5, 5, 5, 9]
    assert "a box has no area" in str(scan_for_nan([(images, truth)], CONFIG))
