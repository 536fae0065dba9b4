"""One process a run: two that write the same checkpoints would ruin both."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError

try:
    import fcntl
except ImportError:  # Windows has no flock; runs there go unguarded.
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run's folder for this process; the lock dies with it, however it ends.

    Raises:
      OptionsError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise OptionsError(
                    f"Another process ({file.read().strip() or 'unknown'}) is working on the run {folder}. "
                    "Wait for it, stop it, or give this run another --run_name."
                ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
