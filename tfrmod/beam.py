"""Executor that runs the conversion's tasks on a cluster with Apache Beam.

The tasks are the same functions with the same arguments, so the shards are the
same bytes. Images do not travel: every machine sees the folder of the images
and that of the shards at the same path (a mounted bucket, a network disk), and
tasks and results, which are small, are there too while the work lasts. Beam
carries only their numbers.
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
    """A context in which work is spread over the machines of a Beam runner.

    Beam may do a task twice, after a machine was lost or in parallel with a slow one;
    tasks must bear that, and the last result to arrive counts.
    """

    def __init__(self, runner: str, beam_options: str, shared: Path) -> None:
        """Checks that the runner can be had; nothing is started yet.

        Args:
          runner: what Beam's own --runner takes: DirectRunner, DataflowRunner, FlinkRunner, ….
          beam_options: Beam's own flags, as on a command line.
          shared: a place on the disk that all machines share; a folder next to it is used and removed.

        Raises:
          ValueError: Beam is missing, or knows no such runner.
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
        """Yields work(*task) for each task, in order, after one pipeline has done them all.

        Args:
          work: a function of a module that every machine has installed.
          tasks: its arguments; what they name is on the shared disk.

        Raises:
          NetworkError: the pipeline failed; what the work itself raised for
            its user (DatasetError, OSError) is raised as it is.
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
        except Exception as error:  # Runners fail each in their own ways.
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
            "the same shards are made on this machine."
        )


def run_task(number: int, folder: str) -> None:
    """Does one task and leaves its result in the folder; runs on any machine."""
    place = Path(folder)
    work, task = pickle.loads(_task_path(place, number).read_bytes())
    result, error = None, None
    try:
        result = work(*task)
    except (DatasetError, OSError) as raised:  # Another try would find the same.
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
            f"runner={runner} needs Apache Beam, which is not installed here; try `pip install apache-beam`, or leave "
            "--runner out to work on this machine"
        ) from error
    try:
        create_runner(runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise ValueError(f"runner must be one that Apache Beam knows. Received {runner!r}; it says: {error}") from error
