"""Pascal VOC's average precision, by hand and against a direct implementation of its definition."""

from collections.abc import Callable

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.evaluation.voc import area_under_curve, eleven_points, voc_precision
from efficientdet_pipeline.inference.results import ImageDetections


def plain_outcomes(instances: Instances, class_id: int) -> tuple[list[bool], list[bool], int]:
    """Returns correct and wrong detections and the number of objects as in VOCevaldet.m, in inclusive pixels."""
    truth, found = instances.truth, instances.found
    is_optional = (truth.is_difficult | truth.is_crowd).tolist()
    rows = [row for row in range(len(found)) if found.class_ids[row] == class_id]
    right, wrong, taken = [], [], set()
    for row in sorted(rows, key=lambda row: -found.scores[row]):
        x, y, w, h = found.boxes_xywh[row]
        best, most = None, -np.inf
        for other in range(len(truth)):
            if truth.class_ids[other] != class_id or truth.images[other] != found.images[row]:
                continue
            tx, ty, tw, th = truth.boxes_xywh[other]
            width = min(x + w, tx + tw) - max(x, tx) + 1
            height = min(y + h, ty + th) - max(y, ty) + 1
            if width > 0 and height > 0:
                iou = width * height / ((w + 1) * (h + 1) + (tw + 1) * (th + 1) - width * height)
                if iou > most:
                    best, most = other, iou
        if most < 0.5:
            right, wrong = [*right, False], [*wrong, True]
        elif is_optional[best]:
            right, wrong = [*right, False], [*wrong, False]
        else:
            right, wrong = [*right, best not in taken], [*wrong, best in taken]
            taken.add(best)
    num = sum(truth.class_ids[row] == class_id and not is_optional[row] for row in range(len(truth)))
    return right, wrong, num


@pytest.mark.parametrize("seed", range(25))
def test_voc_precision_equals_a_plain_reading(seed: int, fuzzed: Callable[[int], Instances]) -> None:
    instances = fuzzed(seed)
    result = voc_precision(instances)
    for row, class_id in enumerate(instances.class_ids):
        right, wrong, num = plain_outcomes(instances, class_id)
        assert result.per_class_2007[row] == eleven_points(np.array(right, bool), np.array(wrong, bool), num)
        assert result.per_class_2012[row] == area_under_curve(np.array(right, bool), np.array(wrong, bool), num)


def test_eleven_points_and_area_by_hand() -> None:
    right = np.array([True, False, True])
    # Precision 1 at a recall of 1/3, 2/3 at a recall of 2/3: recalls 0 to .3, then .4 to .6.
    assert eleven_points(right, ~right, 3) == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    assert area_under_curve(right, ~right, 3) == pytest.approx(1 / 3 + 2 / 3 / 3)
    assert eleven_points(right, ~right, 0) == area_under_curve(right, ~right, 0) == -1
    # A recall of exactly 3/10 reaches the fourth point.
    assert eleven_points(np.ones(3, bool), np.zeros(3, bool), 10) == pytest.approx(4 / 11)


def test_voc_precision_counts_inclusive_pixels_or_not() -> None:
    truth = [TruthImage("a", np.array([[0.0, 0, 9, 9]]), np.array([1]))]
    # 5 of 10 pixels in a row with inclusive corners, 4 of 9 without.
    detected = [ImageDetections(np.array([[0.0, 0, 9, 4]]), np.array([0.9]), np.array([1]), source_id="a")]
    instances = flatten(truth, detected, {})
    assert voc_precision(instances).mean_2012 == 1
    assert voc_precision(instances, inclusive_corners=False).mean_2012 == 0
    assert voc_precision(flatten([], [], {})).mean_2007 == -1
