"""Stop requests: the first finishes the step in time, the second exits immediately."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from efficientdet_pipeline.errors import ExitCode
from efficientdet_pipeline.training.signals import StopNow, StopRequest, on_stop_request, stop_requests

SECOND_REQUEST = """
import os, signal, sys
from efficientdet_pipeline.training.signals import stop_requests
with stop_requests() as request:
    os.kill(os.getpid(), signal.SIGTERM)
    assert request and request.exit_code == 75
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print("not reached")
"""
# A step without Python bytecode to interrupt, like TensorFlow's.
BUSY = """
import hashlib, os, signal, sys, threading, time
from efficientdet_pipeline.training.signals import stop_requests

def ask():
    for name in sys.argv[2:]:
        time.sleep(0.3)
        os.kill(os.getpid(), getattr(signal, name))

with stop_requests(float(sys.argv[1])):
    threading.Thread(target=ask, daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
print("not reached")
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_stop_request_is_false_at_first() -> None:
    assert not StopRequest()


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TRY_AGAIN)]
)
def test_stop_requests_turn_a_signal_into_a_request(number: signal.Signals, exit_code: ExitCode) -> None:
    with stop_requests() as request:
        os.kill(os.getpid(), number)
        assert request
        assert request.exit_code is exit_code


def test_stop_requests_restore_previous_handlers() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(KeyError), stop_requests():
        raise KeyError
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize(("second", "exit_code"), [("SIGINT", 130), ("SIGTERM", 75)])
def test_stop_requests_exit_at_the_second_signal(second: str, exit_code: int) -> None:
    ended = run(SECOND_REQUEST, second)
    assert (ended.returncode, ended.stdout) == (exit_code, "")
    assert "Traceback" not in ended.stderr


def test_stop_requests_exit_at_the_second_signal_during_a_long_step() -> None:
    ended = run(BUSY, "100", "SIGTERM", "SIGINT")
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.count("Repeat the request to stop immediately") == 1


def test_stop_requests_exit_after_the_grace_period() -> None:
    ended = run(BUSY, "0.5", "SIGTERM")
    assert (ended.returncode, ended.stdout) == (75, "")
    assert "Stopped: no checkpoint within 0.5 s (--grace_seconds). No checkpoint was written yet" in ended.stderr


STATED = """
import hashlib, os, signal, sys, threading, time
from efficientdet_pipeline.training.signals import stop_requests
with stop_requests(0.5) as request:
    request.is_building = sys.argv[1] == "building"
    request.resumes_from = "It continues after step 7."
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("building", "Stop requested: the training graph is still being built."),
        ("step", "Stop requested: finishing the"),
    ],
)
def test_stop_requests_log_the_state_and_the_last_checkpoint(state: str, answer: str) -> None:
    ended = run(STATED, state)
    assert ended.returncode == 130
    first, last = ended.stderr.splitlines()
    assert first.startswith(answer)
    assert last == "Stopped: no checkpoint within 0.5 s (--grace_seconds). It continues after step 7."


def test_stop_requests_are_calls_to_listeners() -> None:
    calls: list[int] = []
    with on_stop_request(lambda: calls.append(1)), stop_requests():
        assert not calls
        signal.raise_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while not calls and time.monotonic() < deadline:
            time.sleep(0.01)
    assert calls


def test_stop_requests_interrupt_interruptible_code() -> None:
    with stop_requests() as request:
        with pytest.raises(StopNow), request.interruptible():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopNow), request.interruptible():
            pytest.fail("the body ran")
    with stop_requests() as request:
        with request.interruptible():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert request


def test_stop_requests_leave_signals_to_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    asked: list[bool] = []

    def train() -> None:
        with stop_requests() as request, on_stop_request(lambda: None), request.interruptible():
            asked.append(bool(request))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert asked == [False]
    assert signal.getsignal(signal.SIGTERM) is before
