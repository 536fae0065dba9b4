"""Asked to stop, a run finishes its step, saves, and ends; asked twice, it ends at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from efficientdet_pipeline.errors import ExitCode


class StopRequest:
    """Remembers the signal that asked the run to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> ExitCode:
        """Ctrl-C's code, or that of SIGTERM."""
        return ExitCode.INTERRUPTED if self.signal == signal.SIGINT else ExitCode.TRY_AGAIN

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Is the signal handler: notes the first request, obeys the second at once."""
        if self.signal is not None:
            # The user insists: no clean-up may keep them waiting.
            os._exit(int(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TRY_AGAIN))
        self.signal = number
        # Not by the log: the signal may have come in the middle of a line of it.
        os.write(2, b"Asked to stop: finishing the step and saving a checkpoint. Ask again to stop at once.\n")


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a request while training runs."""
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
