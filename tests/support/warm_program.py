"""The program in processes that begin with everything imported: for tests that start and kill it many times.

The processes are forked from one that has imported TensorFlow and has not used it, so a start takes a few seconds less.
"""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_IMPORTED = [
    *("efficientdet_pipeline.cli", "efficientdet_pipeline.commands.train", "efficientdet_pipeline.tasks.detection"),
    *("gcsfs", "s3fs"),
]


def start_warm(
    arguments: Sequence[str], *, folder: Path, environment: dict[str, str], output: Path
) -> ForkServerProcess:
    """Returns the program, running with arguments in a folder; what it prints is appended to a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(target=_run, args=(list(arguments), str(folder), environment, str(output)))
    process.start()
    return process


def _run(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from efficientdet_pipeline.cli import main

    sys.exit(main(arguments))
