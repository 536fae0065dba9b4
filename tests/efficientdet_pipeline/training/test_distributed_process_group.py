"""Process group: the other processes exit with an error when one fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from efficientdet_pipeline.training.distributed import ProcessGroup

ROOT = Path(__file__).resolve().parents[3]

# The port is passed in a file; a training broadcasts it through JAX, which is not needed here.
MEMBER = """
import os, signal, sys, time
from pathlib import Path
from efficientdet_pipeline.errors import ExitCode, StoppedError
from efficientdet_pipeline.training.distributed import ProcessGroup, TrainingOver

index, count, note = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])

def broadcast(numbers):
    if numbers is not None:
        note.with_suffix(".new").write_text(" ".join(map(str, numbers)))
        note.with_suffix(".new").rename(note)
    while not note.exists():
        time.sleep(0.01)
    return [int(word) for word in note.read_text().split()]

process_group = ProcessGroup(index, count)
process_group.connect("localhost", broadcast)
process_group.barrier()
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
with process_group.training():
    time.sleep(50)
"""


def test_process_group_of_one_does_nothing() -> None:
    process_group = ProcessGroup()
    process_group.connect("nowhere", lambda numbers: numbers or [])
    process_group.barrier()
    assert process_group.is_chief
    assert process_group.sync_stop(True)
    assert not process_group.sync_stop(False)
    with process_group.training():
        pass
    with pytest.raises(KeyError), process_group.training():
        raise KeyError


def test_process_group_ends_with_an_error_when_one_process_dies(tmp_path: Path) -> None:
    dies = "os.kill(os.getpid(), signal.SIGKILL)"
    leader, dead, other = run(tmp_path, WAITS, dies, WAITS)
    assert leader == (75, "error: A process of this 3-process training has exited. Restart all processes: "
                          "they resume from the last checkpoint.\n")  # fmt: skip
    assert dead[0] == -9
    assert other[0] == 75
    assert "The chief process of this 3-process training has exited." in other[1]


def test_process_group_stops_together_when_the_chief_stops(tmp_path: Path) -> None:
    both = """
with process_group.training():
    for epoch in range(9):
        if process_group.sync_stop(process_group.is_chief and epoch == 2):
            if not process_group.is_chief:
                raise TrainingOver
            break
print(epoch, file=sys.stderr)
"""
    assert run(tmp_path, both, both) == [(0, "2\n"), (0, "2\n")]


def test_process_group_forwards_signals_to_the_chief(tmp_path: Path) -> None:
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
signal.signal(signal.SIGTERM, process_group.forward_signal)
os.kill(os.getpid(), signal.SIGTERM)
"""
        + WAITS
    )
    leader, other = run(tmp_path, leads, signalled)
    assert leader[0] == other[0] == 75
    assert "Stopped after step 3, saved. Restart all processes" in leader[1]
    assert "The chief process received a stop request and has saved." in other[1]


def test_process_group_reports_the_failed_process_instead_of_the_error_it_causes(tmp_path: Path) -> None:
    fails = """
with process_group.training():
    raise RuntimeError("Connection closed by peer")
"""
    dies = "time.sleep(1); os._exit(1)"
    failed, _ = run(tmp_path, fails, dies)
    assert failed[0] == 75
    assert "has exited" in failed[1]
    assert "RuntimeError" not in failed[1]
