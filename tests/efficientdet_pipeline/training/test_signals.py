"""Asked once, a run finishes its step in time; asked twice, it ends at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from efficientdet_pipeline.errors import ExitCode
from efficientdet_pipeline.training.signals import StopNow, StopRequest, on_stop_request, stop_requests

INSISTENT = """
import os, signal, sys
from efficientdet_pipeline.training.signals import stop_requests
with stop_requests() as request:
    os.kill(os.getpid(), signal.SIGTERM)
    assert request and request.exit_code == 75
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print("not reached")
"""
# A step that no line of Python can interrupt, as TensorFlow's are.
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


def test_nothing_is_asked_at_first() -> None:
    assert not StopRequest()


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TRY_AGAIN)]
)
def test_a_signal_becomes_a_request(number: signal.Signals, exit_code: ExitCode) -> None:
    with stop_requests() as request:
        os.kill(os.getpid(), number)
        assert request
        assert request.exit_code is exit_code


def test_the_handlers_of_before_are_put_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(KeyError), stop_requests():
        raise KeyError
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize(("second", "exit_code"), [("SIGINT", 130), ("SIGTERM", 75)])
def test_a_second_signal_ends_at_once(second: str, exit_code: int) -> None:
    ended = run(INSISTENT, second)
    assert (ended.returncode, ended.stdout) == (exit_code, "")
    assert "Traceback" not in ended.stderr


def test_a_second_signal_ends_a_long_step_too() -> None:
    ended = run(BUSY, "100", "SIGTERM", "SIGINT")
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.count("Ask again to stop at once") == 1


def test_a_step_that_takes_too_long_is_not_waited_for() -> None:
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
    [("building", "Asked to stop: the training graph is still being built."), ("step", "Asked to stop: finishing the")],
)
def test_stop_requests_say_what_is_waited_for_and_what_is_kept(state: str, answer: str) -> None:
    ended = run(STATED, state)
    assert ended.returncode == 130
    first, last = ended.stderr.splitlines()
    assert first.startswith(answer)
    assert last == "Stopped: no checkpoint within 0.5 s (--grace_seconds). It continues after step 7."


def test_stop_requests_are_told_to_listeners() -> None:
    told: list[int] = []
    with on_stop_request(lambda: told.append(1)), stop_requests():
        assert not told
        signal.raise_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
    assert told


def test_what_may_be_cut_short_is_cut_short() -> None:
    with stop_requests() as request:
        with pytest.raises(StopNow), request.cutting_short():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopNow), request.cutting_short():
            pytest.fail("it began")
    with stop_requests() as request:
        with request.cutting_short():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert request


def test_stop_requests_leave_signals_to_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    asked: list[bool] = []

    def train() -> None:
        with stop_requests() as request, on_stop_request(lambda: None), request.cutting_short():
            asked.append(bool(request))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert asked == [False]
    assert signal.getsignal(signal.SIGTERM) is before
