"""Steps whose loss stands out are written down, and each is told once."""

import json
import math
from pathlib import Path

import pytest

from efficientdet_pipeline.training.divergence import LossSpikeLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "incidents.jsonl"


def look_at(incidents: LossSpikeLog, losses: list[float], *, after: int = 0) -> None:
    for step, loss in enumerate(losses, start=after + 1):
        incidents.look(step, {"step_loss": loss, "bad_steps": float(not math.isfinite(loss))})


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_spike_is_told_with_the_usual_loss_and_its_place(path: Path) -> None:
    look_at(LossSpikeLog(path, batch_size=8, steps_per_epoch=10), [2.0] * 24 + [9.0, 2.0])
    assert lines(path) == [
        {"step": 25, "epoch": 3, "kind": "spike", "loss": 9.0, "usual": 2.0, "position": 192, "batch_size": 8}
    ]


def test_a_high_loss_at_the_beginning_is_no_spike(path: Path) -> None:
    look_at(LossSpikeLog(path, batch_size=8, steps_per_epoch=10), [1.0] * 5 + [90.0] * 3)
    assert lines(path) == []


def test_a_step_without_a_loss_is_bad(path: Path) -> None:
    look_at(LossSpikeLog(path, batch_size=1, steps_per_epoch=2), [math.nan, 3.0, math.inf])
    assert [(line["step"], line["kind"], line["usual"]) for line in lines(path)] == [(1, "bad", None), (3, "bad", 3.0)]


def test_steps_that_come_again_are_forgotten(path: Path) -> None:
    look_at(LossSpikeLog(path, batch_size=1, steps_per_epoch=9), [math.nan] * 4)
    with path.open("a") as file:
        file.write('{"step": 5, "ki')
    again = LossSpikeLog(path, batch_size=1, steps_per_epoch=9)
    again.forget_after(2)
    look_at(again, [math.nan], after=2)
    assert [line["step"] for line in lines(path)] == [1, 2, 3]


def test_a_run_that_diverges_does_not_fill_the_disk(path: Path) -> None:
    incidents = LossSpikeLog(path, batch_size=1, steps_per_epoch=9)
    look_at(incidents, [math.nan] * 300)
    assert len(lines(path)) == 200
