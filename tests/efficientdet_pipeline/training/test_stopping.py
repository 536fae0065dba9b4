"""Asked once, a run finishes its step; asked twice, it ends at once."""

import os
import signal
import subprocess
import sys

import pytest

from efficientdet_pipeline.errors import ExitCode
from efficientdet_pipeline.training.stopping import StopRequest, stop_requests

INSISTENT = """
import os, signal, sys
from efficientdet_pipeline.training.stopping import stop_requests
with stop_requests() as request:
    os.kill(os.getpid(), signal.SIGTERM)
    assert request and request.exit_code == 75
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print("not reached")
"""


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


@pytest.mark.parametrize(("second", "exit_code"), [("SIGINT", 130), ("SIGTERM", 75)])
def test_a_second_signal_ends_at_once(second: str, exit_code: int) -> None:
    ended = subprocess.run([sys.executable, "-c", INSISTENT, second], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (exit_code, "")
    assert "Traceback" not in ended.stderr
