"""Signal handling and preemption: a stop request finishes the step and saves; a second one exits immediately."""

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
    """Calls `listener` first when a stop request arrives inside the body.

    The process may exit immediately afterwards, without clean-up. The listener
    may be called more than once and from another thread, and must not block.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _notify_listeners() -> None:
    for listener in tuple(_listeners):
        with suppress(Exception):
            listener()


class StopNow(BaseException):
    """Interrupts interruptible work, such as an evaluation, at a stop request."""


class StopRequest:
    """The signal that requested a stop, if any."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.is_building = False
        """Whether the training graph is being built, which may take minutes."""
        self.resumes_from = "No checkpoint was written yet: the same command starts from the beginning."
        """Message about the checkpoint that an immediate exit leaves."""
        self._is_interruptible = False

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> ExitCode:
        """Exit code for Ctrl-C or SIGTERM."""
        return _exit_code(self.signal)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: records the first request, exits at the second."""
        if self.signal is not None:
            _exit_process(number, f"Stopped immediately. {self.resumes_from}\n")
        self.signal = number
        if self._is_interruptible:
            raise StopNow

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Lets a request interrupt the body with StopNow."""
        if self:
            raise StopNow
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = False


@contextmanager
def stop_requests(grace_seconds: float = 25.0) -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a request; the process exits `grace_seconds` later at the latest.

    Python calls signal handlers only between bytecodes, and a step or its
    compilation may take minutes. Therefore a thread that is woken by the system
    keeps the time and handles a second request.

    Outside the main thread no handler is installed, and no request arrives.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    previous_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, request.receive) for number in _SIGNALS}
    watch = threading.Thread(
        target=_watch_signals, args=(request, receiver, grace_seconds), name="stop-watch", daemon=True
    )
    watch.start()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_fd)
        sender.close()
        watch.join()
        receiver.close()


def _watch_signals(request: StopRequest, receiver: socket.socket, grace_seconds: float) -> None:
    """Exits at the second signal or after the grace period; returns when the sender is closed."""
    first, deadline = None, 0.0
    while True:
        receiver.settimeout(None if first is None else max(0.001, deadline - time.monotonic()))
        try:
            received = receiver.recv(16)
        except TimeoutError:
            _exit_process(
                first, f"Stopped: no checkpoint within {grace_seconds:g} s (--grace_seconds). {request.resumes_from}\n"
            )
        if not received:
            return
        for number in received:
            if number not in _SIGNALS:
                continue
            if first is not None:
                # A second request: exit without clean-up.
                _exit_process(number, f"Stopped immediately. {request.resumes_from}\n")
            first, deadline = number, time.monotonic() + grace_seconds
            _notify_listeners()
            # Not through logging: the blocked code may hold its lock.
            os.write(2, _acknowledgement(request, grace_seconds).encode())


def _acknowledgement(request: StopRequest, grace_seconds: float) -> str:
    if request.is_building:
        what = (
            "the training graph is still being built. The run stops after its first step, or in "
            f"{grace_seconds:g} s (--grace_seconds) without it."
        )
    else:
        what = "finishing the step and saving a checkpoint."
    return f"Stop requested: {what} Repeat the request to stop immediately.\n"


def _exit_process(number: int | None, message: str) -> NoReturn:
    _notify_listeners()
    with suppress(OSError):
        os.write(2, message.encode())
    os._exit(int(_exit_code(number)))


def _exit_code(number: int | None) -> ExitCode:
    return ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TRY_AGAIN
