"""Loss spikes and bad steps are logged, each once."""

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
        incidents.update(step, {"step_loss": loss, "bad_steps": float(not math.isfinite(loss))})


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_loss_spike_log_records_loss_median_and_position(path: Path) -> None:
    look_at(LossSpikeLog(path, batch_size=8, steps_per_epoch=10), [2.0] * 24 + [9.0, 2.0])
    assert lines(path) == [
        {"step": 25, "epoch": 3, "kind": "spike", "loss": 9.0, "usual": 2.0, "position": 192, "batch_size": 8}
    ]


def test_loss_spike_log_ignores_high_losses_at_the_beginning(path: Path) -> None:
    look_at(LossSpikeLog(path, batch_size=8, steps_per_epoch=10), [1.0] * 5 + [90.0] * 3)
    assert lines(path) == []


def test_loss_spike_log_records_bad_steps(path: Path) -> None:
    look_at(LossSpikeLog(path, batch_size=1, steps_per_epoch=2), [math.nan, 3.0, math.inf])
    assert [(line["step"], line["kind"], line["usual"]) for line in lines(path)] == [(1, "bad", None), (3, "bad", 3.0)]


def test_loss_spike_log_is_truncated_on_resume(path: Path) -> None:
    look_at(LossSpikeLog(path, batch_size=1, steps_per_epoch=9), [math.nan] * 4)
    with path.open("a") as file:
        file.write('{"step": 5, "ki')
    again = LossSpikeLog(path, batch_size=1, steps_per_epoch=9)
    again.truncate_after_step(2)
    look_at(again, [math.nan], after=2)
    assert [line["step"] for line in lines(path)] == [1, 2, 3]


def test_loss_spike_log_has_a_size_limit(path: Path) -> None:
    incidents = LossSpikeLog(path, batch_size=1, steps_per_epoch=9)
    look_at(incidents, [math.nan] * 300)
    assert len(lines(path)) == 200
