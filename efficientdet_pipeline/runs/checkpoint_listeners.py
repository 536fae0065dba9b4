"""Listeners that are called for each written checkpoint, such as the mirror of a run in a bucket."""

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
    """Calls all listeners with a complete checkpoint, in the thread that wrote it."""
    for listener in list(_listeners):
        listener(folder)
