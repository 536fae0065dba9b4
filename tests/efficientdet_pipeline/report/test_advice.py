"""Advice from the errors of a detector."""

from collections.abc import Callable

import numpy as np

from efficientdet_pipeline.evaluation.analysis import Analysis, analyse
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.report.advice import advice

BOX = np.array([[0.0, 0, 20, 20]])


def test_advice_begins_with_what_costs_most() -> None:
    truth = [TruthImage(str(n), BOX, np.array([1 + n % 2])) for n in range(10)]
    wrong_class = [ImageDetections(BOX, np.array([0.9]), np.array([1]), source_id=str(n)) for n in range(10)]
    found = advice(analyse(flatten(truth, wrong_class, {}), {1: "cat", 2: "dog"}, num_draws=20))
    assert found[0].title.startswith("Objects are found but assigned to another class: ")
    missed = advice(analyse(flatten(truth, wrong_class[:6:2], {}), {1: "cat", 2: "dog"}, num_draws=20))
    assert missed[0].title.startswith("Objects are not found at all")


def test_advice_names_weak_classes_and_chance(make_analysis: Callable[..., Analysis]) -> None:
    truth = [TruthImage(str(n), BOX, np.array([1 + n % 4])) for n in range(8)]
    detected = [
        ImageDetections(BOX, np.array([0.9]), np.array([1 + n % 4]), source_id=str(n)) for n in range(8) if n % 4
    ]
    said = advice(analyse(flatten(truth, detected, {}), {1: "weak", 2: "b", 3: "c", 4: "d"}, num_draws=50))
    assert any("weak (0.000)" in each.detail for each in said)
    assert any(each.title.startswith("The 95% interval of AP is") for each in said)


def test_advice_of_a_perfect_detector_is_none() -> None:
    truth = [TruthImage(str(n), BOX, np.array([1])) for n in range(4)]
    detected = [ImageDetections(BOX, np.array([0.99]), np.array([1]), source_id=str(n)) for n in range(4)]
    assert advice(analyse(flatten(truth, detected, {}), {1: "cat"}, num_draws=20)) == []
