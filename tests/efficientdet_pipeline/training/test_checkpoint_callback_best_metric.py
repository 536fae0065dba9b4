"""Best metric: tracked by evaluation and restored from a checkpoint's marker."""

import json
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.training.checkpoint_callback import BestMetric


@pytest.fixture
def best(tmp_path: Path) -> Any:
    def write(**facts: Any) -> Path:
        (tmp_path / "checkpoint.json").write_text(json.dumps(facts))
        return tmp_path

    return write


def test_best_metric_is_replaced_only_by_a_better_one() -> None:
    best_metric = BestMetric()
    assert [best_metric.update(ap, epoch=epoch) for epoch, ap in enumerate([0.1, 0.3, 0.3, 0.2], 1)] == [
        *(True, True),
        *(False, False),
    ]
    assert best_metric.as_dict() == {"best_value": 0.3, "best_epoch": 2, "evaluations_since": 2}


@pytest.mark.parametrize("undefined", [-1.0, float("nan")])
def test_best_metric_ignores_an_ap_that_cannot_be_measured(undefined: float) -> None:
    best_metric = BestMetric()
    assert [best_metric.update(undefined, epoch=epoch) for epoch in (1, 2, 3)] == [False] * 3
    assert best_metric == BestMetric(None, None, 0)
    assert best_metric.update(0.0, epoch=4)
    assert not best_metric.update(undefined, epoch=5)
    assert best_metric == BestMetric(0.0, 4, 0)


def test_best_metric_among_zeros_is_the_latest_and_counts_for_patience() -> None:
    best_metric = BestMetric()
    assert [best_metric.update(0.0, epoch=epoch) for epoch in (1, 2, 3)] == [True] * 3
    assert best_metric == BestMetric(0.0, 3, 2)


def test_best_metric_from_an_old_marker_without_a_measured_best_is_reset(best: Any) -> None:
    facts = {"best_ap": -1.0, "best_epoch": 1, "evaluations_since": 7}
    assert BestMetric.from_marker(facts, best(AP=-1.0, epoch=1), "AP") == BestMetric()


def test_best_metric_is_restored_from_the_marker(best: Any) -> None:
    facts = {"best_value": 0.3, "best_epoch": 2, "evaluations_since": 2}
    assert BestMetric.from_marker(facts, best(AP=0.3, epoch=2), "AP").as_dict() == facts
    # The best on disk is newer: its evaluation runs again.
    assert BestMetric.from_marker(facts, best(AP=0.5, epoch=9), "AP").as_dict() == facts


@pytest.mark.parametrize(("left", "best_value", "best_epoch"), [({"AP": 0.1, "epoch": 1}, 0.1, 1), (None, None, None)])
def test_best_metric_falls_back_if_the_best_checkpoint_was_lost(
    best: Any, left: Any, best_value: Any, best_epoch: Any
) -> None:
    facts = {"best_value": 0.3, "best_epoch": 2, "evaluations_since": 2}
    best_metric = BestMetric.from_marker(facts, best(**left) if left else None, "AP")
    assert best_metric == BestMetric(best_value, best_epoch, 2)


def test_best_metric_from_an_old_marker_is_that_of_the_best_checkpoint(best: Any) -> None:
    assert BestMetric.from_marker({"step": 3}, best(AP=0.4, epoch=1), "AP") == BestMetric(0.4, 1, 0)


def test_best_metric_reads_the_markers_of_earlier_versions(best: Any) -> None:
    facts = {"best_ap": 0.3, "best_epoch": 2, "evaluations_since": 2}
    assert BestMetric.from_marker(facts, best(AP=0.3, epoch=2), "AP") == BestMetric(0.3, 2, 2)
