"""Asked to stop, a run finishes its step, saves, and ends in time; asked twice, it ends at once."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from efficientdet_pipeline.errors import ExitCode

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_listeners: list[Callable[[], None]] = []


@contextmanager
def on_stop_request(listener: Callable[[], None]) -> Iterator[None]:
    """Has `listener` called when the process is asked to stop inside the body, before anything else is done about it.

    The process may end at once then, without clean-up. The call may come more
    than once and from another thread, and must not wait.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _tell_listeners() -> None:
    for listener in tuple(_listeners):
        with suppress(Exception):
            listener()


class StopNow(BaseException):
    """Ends what may be cut short, such as an evaluation, where a stop is asked for."""


class StopRequest:
    """Remembers the signal that asked the run to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.is_building = False
        """Whether the training graph is being built, so that the first step may be minutes away."""
        self.resumes_from = "No checkpoint was written yet: the same command starts from the beginning."
        """A sentence: what a process that ends now leaves behind."""
        self._cuts = False

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> ExitCode:
        """Ctrl-C's code, or that of SIGTERM."""
        return _exit_code(self.signal)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Is the signal handler: notes the first request, obeys the second at once."""
        if self.signal is not None:
            _end(number, f"Stopped at once. {self.resumes_from}\n")
        self.signal = number
        if self._cuts:
            raise StopNow

    @contextmanager
    def cutting_short(self) -> Iterator[None]:
        """Lets a request end what is done inside, by StopNow."""
        if self:
            raise StopNow
        self._cuts = True
        try:
            yield
        finally:
            self._cuts = False


@contextmanager
def stop_requests(grace_seconds: float = 25.0) -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a request; the process ends `grace_seconds` after it, whatever it is doing.

    Python calls a signal's handler between two lines of Python, and a step or
    the compiling of one may take minutes. A thread that the system wakes
    therefore keeps the time, and obeys whoever asks a second time.

    Signals reach the main thread alone: in another one no request ever comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    bell, rope = socket.socketpair()
    rope.setblocking(False)
    rope_before = signal.set_wakeup_fd(rope.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, request.receive) for number in _SIGNALS}
    watch = threading.Thread(target=_keep_time, args=(request, bell, grace_seconds), name="stop-watch", daemon=True)
    watch.start()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(rope_before)
        rope.close()
        watch.join()
        bell.close()


def _keep_time(request: StopRequest, bell: socket.socket, grace_seconds: float) -> None:
    """Ends the process at the second signal, or where the first one's time is up; returns when the rope is let go."""
    first, deadline = None, 0.0
    while True:
        bell.settimeout(None if first is None else max(0.001, deadline - time.monotonic()))
        try:
            rung = bell.recv(16)
        except TimeoutError:
            _end(
                first, f"Stopped: no checkpoint within {grace_seconds:g} s (--grace_seconds). {request.resumes_from}\n"
            )
        if not rung:
            return
        for number in rung:
            if number not in _SIGNALS:
                continue
            if first is not None:
                # The user insists: no clean-up may keep them waiting.
                _end(number, f"Stopped at once. {request.resumes_from}\n")
            first, deadline = number, time.monotonic() + grace_seconds
            _tell_listeners()
            # Not by the log: whoever holds it may be the one who hangs.
            os.write(2, _answer(request, grace_seconds).encode())


def _answer(request: StopRequest, grace_seconds: float) -> str:
    if request.is_building:
        what = (
            "the training graph is still being built. The run stops after its first step, or without it in "
            f"{grace_seconds:g} s (--grace_seconds)."
        )
    else:
        what = "finishing the step and saving a checkpoint."
    return f"Asked to stop: {what} Ask again to stop at once.\n"


def _end(number: int | None, last_words: str) -> NoReturn:
    _tell_listeners()
    with suppress(OSError):
        os.write(2, last_words.encode())
    os._exit(int(_exit_code(number)))


def _exit_code(number: int | None) -> ExitCode:
    return ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TRY_AGAIN
