"""Out-of-memory watchdog: reports when the training was killed."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from efficientdet_pipeline.training import oom_watchdog

SCRIPT = """
import os, signal, sys
from efficientdet_pipeline.training.oom_watchdog import oom_watchdog
with oom_watchdog("The memory is too small."):
    match sys.argv[1]:
        case "killed": os.kill(os.getpid(), signal.SIGKILL)
        case "failed": raise ValueError("no such layer")
"""


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("killed", "error: The training was killed. Unless a user did so: The memory is too small.\n"),
        ("failed", ""),
        ("done", ""),
    ],
)
def test_oom_watchdog_reports_only_kills(end: str, expected: str) -> None:
    # The watchdog holds the pipes too: `run` waits for its message.
    done = subprocess.run([sys.executable, "-c", SCRIPT, end], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) == (end == "done")
    if end == "failed":
        assert done.stderr.endswith("ValueError: no such layer\n")
    else:
        assert done.stderr == expected


STOPPED = """
import hashlib, os, signal, sys, threading, time
from efficientdet_pipeline.training.signals import stop_requests
from efficientdet_pipeline.training.oom_watchdog import oom_watchdog

def ask():
    for name in sys.argv[1:]:
        time.sleep(0.3)
        os.kill(os.getpid(), getattr(signal, name))

with oom_watchdog("The memory is too small."), stop_requests(0.5):
    threading.Thread(target=ask, daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@pytest.mark.parametrize(
    ("signals", "exit_code"),
    [
        (["SIGINT"], 130),
        (["SIGTERM"], 75),
        (["SIGINT", "SIGINT"], 130),
        (["SIGTERM", "SIGKILL"], -9),
    ],
)
def test_oom_watchdog_does_not_report_requested_stops(signals: list[str], exit_code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, *signals], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == exit_code
    assert "Stop requested" in done.stderr
    assert "memory" not in done.stderr
    assert "killed" not in done.stderr


@pytest.mark.parametrize(
    ("kills", "free", "is_scarce"), [([3, 4], [8, 8], True), ([3, 3], [8, 2], True), ([3, 3], [8, 4], False)]
)
def test_oom_watchdog_searches_a_batch_size_if_memory_was_scarce(
    kills: list[int],
    free: list[int],
    is_scarce: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[dict[str, int]] = []
    numbers, sizes = iter(kills), iter([free[0], *[free[1]] * 1000])
    inlet, outlet = os.pipe()
    waits = [1, 2, 3]

    def free_memory() -> int:
        if waits and not (waits.pop() and waits):
            os.close(outlet)
        return next(sizes)

    def search(command: list[str], check: bool) -> SimpleNamespace:
        seen.append(json.loads(Path(command[-1]).read_text()))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(oom_watchdog, "_kills", lambda: next(numbers))
    monkeypatch.setattr(oom_watchdog, "free_memory", free_memory)
    monkeypatch.setattr(oom_watchdog, "_SECONDS", 0.01)
    monkeypatch.setattr(oom_watchdog.subprocess, "run", search)
    os.write(outlet, json.dumps({"message": "Too small.", "probe": {"a": 1}}).encode() + b"\n")
    with pytest.raises(SystemExit) if is_scarce else contextlib.nullcontext():
        oom_watchdog.main(inlet)
    assert seen == ([{"a": 1}] if is_scarce else [])
    told = capsys.readouterr().err
    assert told.endswith("Too small.\n")
    assert ("Unless a user did so" in told) != is_scarce


def test_oom_watchdog_imports_nothing_heavy() -> None:
    heavy = "{'tensorflow', 'keras', 'numpy'}"
    script = f"import sys, efficientdet_pipeline.training.oom_watchdog; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
