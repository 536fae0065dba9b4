"""What is told of each checkpoint that was written, such as the mirror of a run in a bucket."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

_listeners: list[Callable[[Path], None]] = []


@contextlib.contextmanager
def listening(listener: Callable[[Path], None]) -> Iterator[None]:
    """Has `listener` called with the folder of each checkpoint that is written meanwhile."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def checkpoint_written(folder: Path) -> None:
    """Tells all listeners of a complete checkpoint; it is called by the thread that wrote it."""
    for listener in list(_listeners):
        listener(folder)
