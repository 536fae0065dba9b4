"""Average precision on slices of the data."""

import numpy as np
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.matching import match
from efficientdet_pipeline.evaluation.slices import slice_metrics
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

SMALL, LARGE, WIDE = [0.0, 0, 10, 10], [100.0, 100, 250, 250], [300.0, 0, 320, 100]


def test_slice_metrics_by_size_aspect_and_classes() -> None:
    boxes = np.array([SMALL, LARGE, WIDE])
    truth = [TruthImage("a", boxes, np.array([1, 1, 2]))]
    # The small object is missed; a false positive of its size counts in its slice only.
    detected = [
        ImageDetections(
            np.array([LARGE, WIDE, [0, 500, 10, 510]]), np.array([0.9, 0.8, 0.95]), np.array([1, 2, 1]), source_id="a"
        )
    ]
    instances = flatten(truth, detected, {1: "cat", 2: "dog"})
    slices = {
        each.name.partition(" (")[0]: each
        for each in slice_metrics(instances, match(instances), class_groups={"dogs": [2], "all": [1, 2]})
    }
    assert (slices["tiny"].num_objects, slices["tiny"].ap, slices["small"].ap) == (1, 0, -1)
    assert (slices["large"].num_objects, slices["large"].ap) == (1, pytest.approx(1))
    assert (slices["wide"].num_objects, slices["wide"].ap50) == (1, pytest.approx(1))
    assert (slices["tall"].num_objects, slices["tall"].ap) == (0, -1)
    assert (slices["dogs"].ap, slices["dogs"].num_objects, slices["dogs"].kind) == (pytest.approx(1), 1, "classes")
    assert slices["all"].num_objects == 3
    assert 0 < slices["all"].ap < 1


def test_slice_metrics_refuse_an_unknown_class() -> None:
    instances = flatten([TruthImage("a", np.array([SMALL]), np.array([1]))], [], {})
    with pytest.raises(OptionsError, match=r"may hold the evaluated classes 1\. Received 7"):
        slice_metrics(instances, match(instances), class_groups={"x": [1, 7]})
