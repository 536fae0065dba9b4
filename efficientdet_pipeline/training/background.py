"""Work beside the training, one job at a time: what goes wrong there is raised here."""

import threading
import time
from collections.abc import Callable


class Background:
    """Does a job in a thread of its own; the next one waits for it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """How long the last job took."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is being done."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, job: Callable[[], None]) -> None:
        """Begins a job, after the one before it has ended; raises what went wrong there."""
        self.wait()
        # A daemon: a process that is told to end at once does not wait for it.
        self._thread = threading.Thread(target=self._do, args=(job,), name="background", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits for the job that is being done; raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raises what went wrong in a job that has ended."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, job: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            job()
        except BaseException as error:
            self._error = error
        self.seconds = time.monotonic() - began
