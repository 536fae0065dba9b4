"""Sessions of runs, opened like those of a training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Reader, Sources
from efficientdet_pipeline.options.resolve import resolve_options
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks import task_named
from efficientdet_pipeline.training.session import RunSession, start_or_resume_run


def read_options(*argv: str) -> tuple[TrainOptions, Sources, HparamsGiven]:
    """Returns the options of a training on the demo, as the command line reads them."""
    reader = Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)
    return resolve_options(reader, reader.read(["--url_dataset=demo", *argv], {}), TrainOptions)


@contextmanager
def opened(workspace: Path, *argv: str, is_chief: bool = True) -> Iterator[tuple[RunSession, Sources]]:
    """Opens a run like a training, and closes it at the end of the block."""
    options, read, hparams = read_options(f"--workspace={workspace}", *argv)
    with start_or_resume_run(task_named("detection"), options, read, hparams, is_chief=is_chief) as run:
        yield run, read
