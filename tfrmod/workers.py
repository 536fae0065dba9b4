"""The same work on many things, in several processes, with the results in order."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tfrmod.errors import DatasetError


def default_workers() -> int:
    """Returns the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A context in which work is spread over processes, or done here where one is enough.

    The processes are spawned, not forked: the program that calls may have
    TensorFlow's threads running, and a fork in the midst of them hangs.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        if self.num_workers > 1:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.num_workers, context, initializer=_begin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def map(self, work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Yields work(*task) for each task, in order, a few tasks ahead of the reader.

        Raises:
          DatasetError: a process was killed.
        """
        if self._executor is None:
            yield from (work(*task) for task in tasks)
            return
        ahead = 4 * self.num_workers
        futures: list[Future[Any]] = []
        try:
            for index in range(len(tasks)):
                for task in tasks[len(futures) : index + ahead]:
                    futures.append(self._executor.submit(work, *task))
                yield futures[index].result()
                futures[index] = Future()  # The result is the reader's now; memory stays flat.
        except BrokenProcessPool as error:
            raise DatasetError(
                "A worker process ended in the midst of its photos: the system may have run out of memory, or a "
                "decoder broke down on one of them. Try --num_workers=1, and a smaller --max_pixels."
            ) from error


def _begin() -> None:
    """Ctrl-C is the parent's to handle, and a worker whose parent was killed must not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
