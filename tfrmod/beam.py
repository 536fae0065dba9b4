"""Executor that runs the conversion's tasks on a cluster with Apache Beam.

The tasks are the same functions with the same arguments, so the shards have the
same bytes. Images are not transferred: all machines access the folder of images
and that of the shards at the same path (a mounted bucket, a network disk), and
tasks and results, which are small, are stored there too during the work. Beam
only transfers their numbers.
"""

import contextlib
import pickle
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tfrmod import fileio
from tfrmod.errors import DatasetError, NetworkError


class BeamWorkers:
    """A context in which tasks are distributed over the machines of a Beam runner.

    Beam may run a task twice, after a machine was lost or in parallel with a slow
    one; tasks must support that, and the last result counts.
    """

    def __init__(self, runner: str, beam_options: str, shared: Path) -> None:
        """Checks that the runner is available; nothing is started yet.

        Args:
          runner: value of Beam's option --runner: DirectRunner, DataflowRunner, FlinkRunner, ….
          beam_options: Beam's own flags, as on a command line.
          shared: a path on a disk shared by all machines; a folder next to it is used and removed.

        Raises:
          ValueError: Beam is not installed, or does not have this runner.
        """
        self.runner = runner
        self._options = [f"--runner={runner}", *shlex.split(beam_options)]
        self._shared = shared
        self._open = contextlib.ExitStack()
        self._folder = shared
        self._maps = 0
        _check_runner(runner)

    def __enter__(self) -> "BeamWorkers":
        self._folder = self._open.enter_context(fileio.staging_folder(self._shared))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def map(self, work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yields work(*task) for each task, in order, after one pipeline has run all of them.

        Args:
          work: a function of a module that is installed on every machine.
          tasks: its arguments; paths in them are on the shared disk.

        Raises:
          NetworkError: the pipeline failed. DatasetError and OSError raised by
            `work` are raised unchanged.
        """
        folder = self._folder / f"{self._maps:03d}"
        self._maps += 1
        folder.mkdir()
        count = 0
        for count, task in enumerate(tasks, start=1):
            _task_path(folder, count - 1).write_bytes(pickle.dumps((work, task)))
        self._run(folder, count)
        for number in range(count):
            result, error = pickle.loads(_result_path(folder, number).read_bytes())
            if error is not None:
                raise error
            yield result

    def _run(self, folder: Path, count: int) -> None:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions

        try:
            pipeline = apache_beam.Pipeline(options=PipelineOptions(self._options))
            # Without the reshuffle, a runner may keep all numbers together on one machine.
            _ = (
                pipeline
                | "Tasks" >> apache_beam.Create(range(count))
                | "Spread" >> apache_beam.Reshuffle()
                | "Work" >> apache_beam.Map(run_task, str(folder))
            )
            state = pipeline.run().wait_until_finish()
        except Exception as error:  # Each runner has its own exceptions.
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise self._failed(last[0]) from error
        missing = sum(not _result_path(folder, number).is_file() for number in range(count))
        if missing:
            raise self._failed(
                f"it ended as {state}, and {missing} of {count} results are not in {folder}; do all machines see "
                "that folder?"
            )

    def _failed(self, why: str) -> NetworkError:
        return NetworkError(
            f"The Beam pipeline on {self.runner} failed: {why}. Check --runner and --beam_options; without --runner "
            "the same shards are written on this machine."
        )


def run_task(number: int, folder: str) -> None:
    """Runs one task and stores its result in the folder; runs on any machine."""
    place = Path(folder)
    work, task = pickle.loads(_task_path(place, number).read_bytes())
    result, error = None, None
    try:
        result = work(*task)
    except (DatasetError, OSError) as raised:  # Another attempt would raise the same.
        error = raised
    fileio.write_file(_result_path(place, number), pickle.dumps((result, error)), is_synced=False)


def _task_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.task"


def _result_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.result"


def _check_runner(runner: str) -> None:
    try:
        from apache_beam.runners.runner import create_runner
    except ImportError as error:
        raise ValueError(
            f"runner={runner} needs Apache Beam, which is not installed here; try `pip install apache-beam`, or omit "
            "--runner to work on this machine"
        ) from error
    try:
        create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(f"runner must be one that Apache Beam has. Received {runner!r}; it says: {error}") from error
