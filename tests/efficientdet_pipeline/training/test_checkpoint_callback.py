"""The best so far is that of the checkpoint a run continues from."""

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


def test_a_better_one_is_the_best_and_an_equal_one_is_not() -> None:
    standing = BestMetric()
    assert [standing.take(ap, epoch=epoch) for epoch, ap in enumerate([0.1, 0.3, 0.3, 0.2], 1)] == [
        *(True, True),
        *(False, False),
    ]
    assert standing.as_facts() == {"best_ap": 0.3, "best_epoch": 2, "evaluations_since": 2}


@pytest.mark.parametrize("undefined", [-1.0, float("nan")])
def test_an_ap_that_cannot_be_measured_is_not_the_best_and_not_counted(undefined: float) -> None:
    standing = BestMetric()
    assert [standing.take(undefined, epoch=epoch) for epoch in (1, 2, 3)] == [False] * 3
    assert standing == BestMetric(None, None, 0)
    assert standing.take(0.0, epoch=4)
    assert not standing.take(undefined, epoch=5)
    assert standing == BestMetric(0.0, 4, 0)


def test_among_aps_of_zero_the_later_is_the_best_and_patience_counts_it() -> None:
    standing = BestMetric()
    assert [standing.take(0.0, epoch=epoch) for epoch in (1, 2, 3)] == [True] * 3
    assert standing == BestMetric(0.0, 3, 2)


def test_a_marker_of_an_earlier_version_whose_best_was_not_measured_begins_anew(best: Any) -> None:
    facts = {"best_ap": -1.0, "best_epoch": 1, "evaluations_since": 7}
    assert BestMetric.of(facts, best(AP=-1.0, epoch=1)) == BestMetric()


def test_it_comes_back_from_the_marker(best: Any) -> None:
    facts = {"best_ap": 0.3, "best_epoch": 2, "evaluations_since": 2}
    assert BestMetric.of(facts, best(AP=0.3, epoch=2)).as_facts() == facts
    # The best on the disk is of a later time: that evaluation comes again.
    assert BestMetric.of(facts, best(AP=0.5, epoch=9)).as_facts() == facts


@pytest.mark.parametrize(("left", "best_ap", "best_epoch"), [({"AP": 0.1, "epoch": 1}, 0.1, 1), (None, None, None)])
def test_where_the_best_was_lost_the_next_takes_its_place(best: Any, left: Any, best_ap: Any, best_epoch: Any) -> None:
    facts = {"best_ap": 0.3, "best_epoch": 2, "evaluations_since": 2}
    standing = BestMetric.of(facts, best(**left) if left else None)
    assert (standing.best_ap, standing.best_epoch, standing.evaluations_since) == (best_ap, best_epoch, 2)


def test_a_marker_of_an_earlier_version_says_nothing_of_it(best: Any) -> None:
    assert BestMetric.of({"step": 3}, best(AP=0.4, epoch=1)) == BestMetric(0.4, 1, 0)
