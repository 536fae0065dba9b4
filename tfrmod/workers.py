"""Process pool that maps a function over tasks and returns the results in order."""

import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Protocol, Self

from tfrmod.errors import DatasetError

_AHEAD = 4


def default_workers() -> int:
    """Returns the number of processor cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Executor(Protocol):
    """Distributes tasks: `Workers` on this machine, or an implementation for several machines; may be entered again."""

    def __enter__(self) -> Self:
        """Begins."""

    def __exit__(self, *_: object) -> None:
        """Ends all processes."""

    def map(self, work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yields work(*task) for each task, in order.

        Args:
          work: a function of a module; calling it twice for a task must be safe.
          tasks: its arguments.
        """


class Workers:
    """A context in which tasks are distributed over processes, or run in this process if one is enough.

    Processes are spawned, not forked: the calling program may have TensorFlow's
    threads running, and forking a process with threads can deadlock.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        if self.num_workers > 1:
            _release_memory()
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.num_workers, context, initializer=_init_worker)
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def map(self, work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yields work(*task) for each task, in order; tasks are taken from the iterable only as needed.

        Raises:
          DatasetError: a process was killed.
        """
        if self._executor is None:
            yield from itertools.starmap(work, tasks)
            return
        waiting: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                with _no_interrupt(), _main_module_hidden():  # The first task starts the processes.
                    waiting.append(self._executor.submit(work, *task))
                if len(waiting) == _AHEAD * self.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "A worker process ended unexpectedly: the system may have run out of memory, or a decoder crashed on "
                "one of the images. Try --num_workers=1, which decodes one image at a time. If that ends too, make "
                "the largest images smaller, or take them out of the data."
            ) from error


def _release_memory() -> None:
    """Returns freed memory to the system, before other processes need it; the C library would keep it."""
    with suppress(AttributeError, OSError, TypeError):  # Only glibc has the function.
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Blocks Ctrl-C for a moment: processes started inside ignore it from their first instruction on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keeps processes that are spawned inside from importing the calling script, which would run it again in each.

    The work is a function of an imported module, so that no process needs the script.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _init_worker() -> None:
    """Ignores Ctrl-C, which the parent handles, and ends the worker if its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
