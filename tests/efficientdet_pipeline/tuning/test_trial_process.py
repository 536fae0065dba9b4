"""A trial as a process: monitored, pruned, stopped, and its errors reported."""

import sys
import time
from pathlib import Path

import pytest

from efficientdet_pipeline.tuning.trial_process import evaluations, run_trial, training_command

TRAINING = """
import sys, time, signal
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(75)))
rows = ["epoch,step,AP"]
for epoch, value in enumerate(sys.argv[2:], start=1):
    if value == "wait":
        time.sleep(60)
    if value == "fail":
        print("error: batch_size must be 4.", file=sys.stderr)
        sys.exit(2)
    rows.append(f"{epoch},{epoch * 5},{value if value != '-' else ''}")
    open(sys.argv[1] + "/results.csv", "w").write("\\n".join(rows) + "\\n")
"""


def run(tmp_path: Path, *values: str, below: float = -1.0) -> tuple[object, list[tuple[int, float]]]:
    asked: list[tuple[int, float]] = []

    def is_pruned(epoch: int, value: float) -> bool:
        asked.append((epoch, value))
        return value < below

    command = [sys.executable, "-c", TRAINING, str(tmp_path), *values]
    return run_trial(command, tmp_path, tmp_path / "out.txt", is_pruned=is_pruned, poll_seconds=0.05), asked


def test_run_trial_returns_its_best_evaluation(tmp_path: Path) -> None:
    outcome, asked = run(tmp_path, "-", "0.5", "0.25")
    assert (outcome.state, outcome.value, outcome.exit_code) == ("complete", 0.5, 0)
    assert asked == [(2, 0.5), (3, 0.25)]


def test_run_trial_ends_what_is_pruned(tmp_path: Path) -> None:
    start = time.monotonic()
    outcome, asked = run(tmp_path, "0.5", "0.1", "wait", below=0.2)
    assert (outcome.state, outcome.value) == ("pruned", 0.5)
    assert asked[-1] == (2, 0.1)
    assert "saved" in (tmp_path / "out.txt").read_text()
    assert time.monotonic() - start < 30


def test_run_trial_tells_the_error(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, "0.5", "fail")
    assert (outcome.state, outcome.exit_code, outcome.message) == ("failed", 2, "batch_size must be 4.")
    outcome, _ = run(tmp_path)
    assert (outcome.state, outcome.value) == ("complete", 0.5)
    (tmp_path / "results.csv").unlink()
    outcome, _ = run(tmp_path)
    assert (outcome.state, outcome.message) == ("failed", "No evaluation has measured it.")


def test_run_trial_ends_the_process_with_an_exception(tmp_path: Path) -> None:
    def interrupted(epoch: int, value: float) -> bool:
        raise KeyboardInterrupt

    command = [sys.executable, "-c", TRAINING, str(tmp_path), "0.5", "wait"]
    with pytest.raises(KeyboardInterrupt):
        run_trial(command, tmp_path, tmp_path / "out.txt", is_pruned=interrupted, poll_seconds=0.05)
    assert (tmp_path / "out.txt").read_text() == "saved\n"


def test_evaluations_are_none_while_the_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    assert evaluations(path) == []
    for text, expected in (
        ("", []),
        ("epoch,AP\n1", []),
        ("epoch,AP\n1,x\n", []),
        ("epoch,loss\n1,2\n", []),
        ("epoch,mIoU\n3,0.5\n", [(3, 0.5)]),
    ):
        path.write_text(text)
        assert evaluations(path) == expected


def test_training_command_runs_the_program() -> None:
    assert training_command(["--version"])[0] == sys.executable
