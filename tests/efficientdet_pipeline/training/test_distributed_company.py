"""Processes that share a training: what becomes of the others when one ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from efficientdet_pipeline.training.distributed import ProcessGroup

ROOT = Path(__file__).resolve().parents[3]

# Each process finds the port in a file; JAX, which hands it on in a training, is not needed for this.
MEMBER = """
import os, signal, sys, time
from pathlib import Path
from efficientdet_pipeline.errors import ExitCode, StoppedError
from efficientdet_pipeline.training.distributed import ProcessGroup as Company, TrainingOver

index, count, note = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])

def tell_all(numbers):
    if numbers is not None:
        note.with_suffix(".new").write_text(" ".join(map(str, numbers)))
        note.with_suffix(".new").rename(note)
    while not note.exists():
        time.sleep(0.01)
    return [int(word) for word in note.read_text().split()]

company = Company(index, count)
company.gather("localhost", tell_all)
company.ready()
"""


def run(folder: Path, *parts: str) -> list[tuple[int, str]]:
    """Returns exit code and standard error of one process for each part of a script."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER + part, str(index), str(len(parts)), str(folder / "port")],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for index, part in enumerate(parts)
    ]
    errors = [process.communicate(timeout=60)[1] for process in started]
    return [(process.returncode, error) for process, error in zip(started, errors, strict=True)]


WAITS = """
with company.training():
    time.sleep(50)
"""


def test_alone_it_does_nothing() -> None:
    company = ProcessGroup()
    company.gather("nowhere", lambda numbers: numbers or [])
    company.ready()
    assert company.is_chief
    assert company.agreed(True)
    assert not company.agreed(False)
    with company.training():
        pass
    with pytest.raises(KeyError), company.training():
        raise KeyError


def test_one_that_dies_ends_the_others_with_a_sentence(tmp_path: Path) -> None:
    dies = "os.kill(os.getpid(), signal.SIGKILL)"
    leader, dead, other = run(tmp_path, WAITS, dies, WAITS)
    assert leader == (75, "error: A process of the 3 that share this training is gone. Start all of them again: "
                          "they continue from the last checkpoint.\n")  # fmt: skip
    assert dead[0] == -9
    assert other[0] == 75
    assert "The leading process of the 3" in other[1]


def test_the_leading_one_ends_all_in_order(tmp_path: Path) -> None:
    both = """
with company.training():
    for epoch in range(9):
        if company.agreed(company.is_chief and epoch == 2):
            if not company.is_chief:
                raise TrainingOver
            break
print(epoch, file=sys.stderr)
"""
    assert run(tmp_path, both, both) == [(0, "2\n"), (0, "2\n")]


def test_a_signal_to_any_is_obeyed_by_the_leading_one(tmp_path: Path) -> None:
    leads = (
        """
def stop(number, frame):
    raise StoppedError("Stopped after step 3, saved.", exit_code=ExitCode.TRY_AGAIN)
signal.signal(signal.SIGTERM, stop)
"""
        + WAITS
    )
    signalled = (
        """
signal.signal(signal.SIGTERM, company.forward)
os.kill(os.getpid(), signal.SIGTERM)
"""
        + WAITS
    )
    leader, other = run(tmp_path, leads, signalled)
    assert leader[0] == other[0] == 75
    assert "Stopped after step 3, saved. Start all of them again" in leader[1]
    assert "The leading process was asked to stop and has saved." in other[1]


def test_an_error_of_a_death_elsewhere_waits_for_the_word(tmp_path: Path) -> None:
    fails = """
with company.training():
    raise RuntimeError("Connection closed by peer")
"""
    dies = "time.sleep(1); os._exit(1)"
    failed, _ = run(tmp_path, fails, dies)
    assert failed[0] == 75
    assert "is gone" in failed[1]
    assert "RuntimeError" not in failed[1]
