"""A trial in a process of its own: its metrics are read while it trains, and it is ended where it is pruned."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import efficientdet

from efficientdet_pipeline.errors import ExitCode, OptionsError
from efficientdet_pipeline.runs.run_dir import locked

# The pipe to its standard input is closed when the study's process ends, however it ends.
STOP_WITH_STUDY = """
import os, signal, sys, threading

def stop_with_study():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=stop_with_study, daemon=True).start()
"""
_COMMAND = STOP_WITH_STUDY + "from efficientdet_pipeline.cli import main; sys.exit(main())"
_PRIMARY = ("AP", "mIoU", "top1")
"""Columns of results.csv that tell how good a network is; the first that is there counts."""
_GRACE_SECONDS = 60.0
_STOPPED = {ExitCode.TRY_AGAIN, ExitCode.INTERRUPTED}


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: Literal["complete", "pruned", "failed", "stopped"]
    value: float | None
    """The best of its evaluations; None where there was none."""
    exit_code: int
    message: str = ""
    """The last line of its errors."""


def training_command(arguments: Sequence[str]) -> list[str]:
    """Returns the command of a training that is stopped when its standard input ends, with the given arguments."""
    return [sys.executable, "-c", _COMMAND, *arguments]


def run_trial(
    command: Sequence[str],
    folder: Path,
    output: Path,
    *,
    is_pruned: Callable[[int, float], bool],
    poll_seconds: float = 1.0,
) -> Outcome:
    """Runs a trial to its end, or to where it is pruned.

    An exception while it runs, such as that of a signal, ends the trial as well:
    it saves a checkpoint, and the same command continues it.

    Args:
      command: that trains.
      folder: of the trial's run, whose results.csv is read.
      output: file for what the trial prints.
      is_pruned: called with (epoch, value) of each evaluation, once.
      poll_seconds: between looks at results.csv.
    """
    seen: dict[int, float] = {}
    with open(output, "ab") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, env=_environment()
        )
        try:
            pruned = _watch(process, folder / "results.csv", seen, is_pruned, poll_seconds)
        except BaseException:
            _end(process)
            raise
        finally:
            if process.stdin is not None:
                process.stdin.close()
    code = process.returncode
    best = max(seen.values(), default=None)
    if pruned:
        return Outcome("pruned", best, code)
    if code == ExitCode.DONE and best is not None:
        return Outcome("complete", best, code)
    message = _last_line(output) if code else "No evaluation has measured it."
    return Outcome("stopped" if code in _STOPPED else "failed", best, code, message)


def _watch(
    process: "subprocess.Popen[bytes]",
    results: Path,
    seen: dict[int, float],
    is_pruned: Callable[[int, float], bool],
    poll_seconds: float,
) -> bool:
    """Waits for the process, and returns whether it was ended by pruning."""
    while True:
        has_ended = process.poll() is not None
        for epoch, value in evaluations(results):
            if epoch in seen:
                continue
            seen[epoch] = value
            if is_pruned(epoch, value) and not has_ended:
                _end(process)
                return True
        if has_ended:
            return False
        time.sleep(poll_seconds)


def wait_for_end(folder: Path, seconds: float = _GRACE_SECONDS) -> None:
    """Waits while the process of a trial, which a killed study left, saves its checkpoint.

    Raises:
      OptionsError: the run's folder is in use for longer.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with locked(folder):
                return
        except OptionsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def evaluations(results: Path) -> list[tuple[int, float]]:
    """Returns (epoch, value) of the evaluations in a results.csv; none where there is no such file."""
    try:
        with open(results, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        name = next((name for name in _PRIMARY if rows and name in rows[0]), "")
        return [(int(row["epoch"]), float(row[name])) for row in rows if name and row.get(name)]
    except (OSError, ValueError, TypeError, csv.Error):
        return []  # It is being written.


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a training after it has saved a checkpoint."""
    process.terminate()
    try:
        process.wait(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """Returns the environment, in which the process finds the packages of this one."""
    places = [str(Path(__file__).resolve().parents[2]), str(Path(efficientdet.__file__).resolve().parents[1])]
    paths = [*places, *filter(None, [os.environ.get("PYTHONPATH", "")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _last_line(output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return next((line for line in reversed(errors or lines) if line.strip()), "It printed nothing.")
