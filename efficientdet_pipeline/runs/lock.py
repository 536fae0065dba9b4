"""One process a run: two that write the same checkpoints would ruin both."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError
from tfrmod.lock import lock_file


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run's folder for this process; the lock dies with it, however it ends.

    Raises:
      OptionsError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            is_ours = lock_file(file.fileno(), waits=False)
        except OSError:  # A disk or a system that locks nothing.
            is_ours = True
        if not is_ours:
            file.seek(0)
            raise OptionsError(
                f"Another process ({file.read().strip() or 'unknown'}) is working on the run {folder}. "
                "Wait for it, stop it, or give this run another --run_name."
            )
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
