"""The best so far is that of the checkpoint a run continues from."""

import json
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.training.standing import Standing


@pytest.fixture
def best(tmp_path: Path) -> Any:
    def write(**facts: Any) -> Path:
        (tmp_path / "checkpoint.json").write_text(json.dumps(facts))
        return tmp_path

    return write


def test_a_better_one_is_the_best_and_an_equal_one_is_not() -> None:
    standing = Standing()
    assert [standing.take(ap, epoch=epoch) for epoch, ap in enumerate([0.1, 0.3, 0.3, 0.2], 1)] == [
        *(True, True),
        *(False, False),
    ]
    assert standing.as_facts() == {"best_ap": 0.3, "best_epoch": 2, "evaluations_since": 2}


def test_a_first_evaluation_without_anything_to_measure_is_the_best() -> None:
    assert Standing().take(-1.0, epoch=1)


def test_it_comes_back_from_the_marker(best: Any) -> None:
    facts = {"best_ap": 0.3, "best_epoch": 2, "evaluations_since": 2}
    assert Standing.of(facts, best(AP=0.3, epoch=2)).as_facts() == facts
    # The best on the disk is of a later time: that evaluation comes again.
    assert Standing.of(facts, best(AP=0.5, epoch=9)).as_facts() == facts


@pytest.mark.parametrize(("left", "best_ap", "best_epoch"), [({"AP": 0.1, "epoch": 1}, 0.1, 1), (None, None, None)])
def test_where_the_best_was_lost_the_next_takes_its_place(best: Any, left: Any, best_ap: Any, best_epoch: Any) -> None:
    facts = {"best_ap": 0.3, "best_epoch": 2, "evaluations_since": 2}
    standing = Standing.of(facts, best(**left) if left else None)
    assert (standing.best_ap, standing.best_epoch, standing.evaluations_since) == (best_ap, best_epoch, 2)


def test_a_marker_of_an_earlier_version_says_nothing_of_it(best: Any) -> None:
    assert Standing.of({"step": 3}, best(AP=0.4, epoch=1)) == Standing(0.4, 1, 0)
