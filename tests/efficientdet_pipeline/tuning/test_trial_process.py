"""A trial as a process: monitored, pruned, stopped, and its errors reported."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.tuning.trial_process import (
    STOP_WITH_STUDY,
    evaluations,
    run_trial,
    training_command,
    wait_for_end,
)

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


def test_run_trial_leaves_no_process_where_the_study_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOP_WITH_STUDY + TRAINING, str(tmp_path), "0.5", "wait"]
    code = (
        "from pathlib import Path; from efficientdet_pipeline.tuning.trial_process import run_trial; "
        f"run_trial({command!r}, Path({str(tmp_path)!r}), Path({str(tmp_path / 'out.txt')!r}), "
        "is_pruned=lambda *_: False)"
    )
    study = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    wait_until((tmp_path / "results.csv").is_file)
    study.kill()
    study.wait()
    wait_until(lambda: (tmp_path / "out.txt").read_text() == "saved\n")


def wait_until(is_true: Callable[[], bool], seconds: float = 50.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_wait_for_end_waits_for_the_lock_of_a_run(tmp_path: Path) -> None:
    wait_for_end(tmp_path, seconds=0)
    holder = (
        "import sys; from pathlib import Path; from efficientdet_pipeline.runs.run_dir import locked\n"
        f"with locked(Path({str(tmp_path)!r})): print(flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(OptionsError, match=f"Another process \\({process.pid}\\) is using the run"):
            wait_for_end(tmp_path, seconds=0)
    wait_for_end(tmp_path)


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
