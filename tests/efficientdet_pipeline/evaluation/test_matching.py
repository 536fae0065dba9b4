"""Matching of detections with ground truth, against pycocotools."""

from collections.abc import Callable

import numpy as np
import pytest

from efficientdet_pipeline.evaluation import matching
from efficientdet_pipeline.evaluation.average_precision import average_precision, interpolated_precision, ranked_class
from efficientdet_pipeline.evaluation.engines import coco_arrays
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.matching import NOTHING, match, overlap_pairs
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

AREAS = ((0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10))
BOX, FAR = [0.0, 0, 10, 10], [50.0, 50, 60, 60]


def one_image(truth: list, found: list, **marks: object) -> Instances:
    """Returns an image of one class; `found` has a score after each box."""
    boxes = np.reshape([each[:4] for each in found], (-1, 4))
    scores = np.array([each[4] for each in found])
    true = TruthImage("a", np.reshape(truth, (-1, 4)), np.ones(len(truth), int), **marks)
    return flatten([true], [ImageDetections(boxes, scores, np.ones(len(found), int), source_id="a")], {1: "cat"})


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 1040), marks=pytest.mark.slow)], ids=len)
def test_match_gives_cocos_precision_to_the_last_bit(seeds: range, fuzzed: Callable[[int], Instances]) -> None:
    for seed in seeds:
        instances = fuzzed(seed)
        expected = coco_arrays(instances, "pycocotools").precision
        for area, (low, high) in enumerate(AREAS):
            truth_areas, found_areas = instances.truth.areas, instances.found.areas
            matches = match(
                instances,
                truth_ignored=(truth_areas < low) | (truth_areas > high),
                found_outside=(found_areas < low) | (found_areas > high),
            )
            for row, class_id in enumerate(instances.class_ids):
                ranked = ranked_class(instances, matches, class_id)
                if len(ranked.truth_rows):
                    precision = interpolated_precision(ranked.is_right, ranked.is_wrong, len(ranked.truth_rows))
                    np.testing.assert_array_equal(precision, expected[:, :, row, area, 2], err_msg=f"seed {seed}")
                else:
                    assert (expected[:, :, row, area, 2] == -1).all()


def test_match_gives_an_object_to_the_best_score() -> None:
    instances = one_image([BOX, FAR], [[*BOX, 0.4], [0, 0, 10, 9, 0.9], [*FAR, 0.1], [90, 90, 99, 99, 0.8]])
    matches = match(instances, thresholds=np.array([0.5, 0.95]))
    assert matches.truth_rows.tolist() == [[NOTHING, 0, 1, NOTHING], [0, NOTHING, 1, NOTHING]]
    assert matches.found_rows.tolist() == [[1, 2], [0, 2]]
    assert not matches.found_ignored.any()
    np.testing.assert_allclose(matches.best_iou, [1, 0.9, 1, 0])


def test_match_lets_many_take_a_crowd() -> None:
    instances = one_image([BOX], [[*BOX, 0.9], [0, 0, 5, 5, 0.8]], is_crowd=np.array([True]))
    matches = match(instances)
    assert matches.found_ignored.all()
    assert (matches.truth_rows == 0).all()
    assert average_precision(instances, matches).tolist() == [-1] * 10


def test_match_ignores_what_is_beyond_the_limit() -> None:
    instances = one_image([BOX], [[*FAR, 0.9], [*BOX, 0.8]])
    matches = match(instances, limit=1)
    assert matches.truth_rows[0].tolist() == [NOTHING, NOTHING]
    assert matches.found_ignored[0].tolist() == [False, True]


def test_overlap_pairs_are_the_same_in_parts(
    fuzzed: Callable[[int], Instances], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = overlap_pairs(fuzzed(3))
    monkeypatch.setattr(matching, "_MAX_PAIRS", 1)
    for one, other in zip(whole, overlap_pairs(fuzzed(3)), strict=True):
        np.testing.assert_array_equal(one, other)
