"""How the program speaks: plain lines on the console, dated lines in the run's log.txt."""

import contextlib
import io
import logging as standard_logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from absl import logging

# The packages whose information is for the user; TensorFlow talks through the same logger.
_OURS = ("efficientdet_pipeline", "efficientdet", "tfrmod")


def _is_for_users(record: standard_logging.LogRecord) -> bool:
    is_ours = any(f"{os.sep}{package}{os.sep}" in record.pathname for package in _OURS)
    return is_ours or record.levelno >= standard_logging.ERROR or logging.level_debug()


class _Console(standard_logging.Handler):
    """Prints what is said; warnings and errors go to stderr and say what they are."""

    def emit(self, record: standard_logging.LogRecord) -> None:
        text = record.getMessage()
        stream = sys.stderr if record.levelno >= standard_logging.WARNING else sys.stdout
        if record.levelno >= standard_logging.ERROR:
            text = f"error: {text}"
        elif record.levelno >= standard_logging.WARNING:
            text = f"warning: {text}"
        try:
            print(text, file=stream, flush=True)
        except BrokenPipeError:
            # Whoever read along has gone, as `| head` does; that must not end a training.
            hush(stream)


class _LogFile(standard_logging.FileHandler):
    """Writes what is said behind what is there, with date and time."""

    def __init__(self, path: Path):
        super().__init__(path, encoding="utf-8")
        self.setFormatter(
            standard_logging.Formatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
        )

    def handleError(self, record: standard_logging.LogRecord) -> None:
        """Is silent: a full disk is told by what cannot do without it."""


def set_up_console() -> None:
    """Sends our log, absl's and the standard one, to the console as plain lines, from INFO up."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # Closed by whoever started us: the next file opened would be written into.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it lives as long as we do
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A console without a letter for it must not end a run.
    _listen(_Console())
    logging.set_verbosity(logging.INFO)


def log_to_file(path: Path) -> None:
    """Writes everything said from now on into `path` too, behind what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _listen(_LogFile(path))


def _listen(handler: standard_logging.Handler) -> None:
    """Puts a handler where every logger's records pass, in place of the one of its kind."""
    root = standard_logging.getLogger()
    for other in [each for each in root.handlers if type(each) is type(handler)]:
        root.removeHandler(other)
        other.close()
    handler.addFilter(_is_for_users)
    root.addHandler(handler)


def hush(stream: TextIO) -> None:
    """Sends what is still to come on a stream nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def silent_native_log(*, unless: bool) -> Iterator[None]:
    """Keeps TensorFlow's greetings, which it prints while it loads whatever the log level, off the console."""
    if unless:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def suggest(*arguments: str) -> None:
    """Says what to type next, so that it can be copied as it stands."""
    program = os.path.basename(sys.argv[0])
    if program.endswith(".py") or not program:
        found = shutil.which("python3")
        # In an environment that is not activated, python3 is another one.
        is_ours = found is not None and os.path.dirname(os.path.abspath(found)) == os.path.dirname(sys.executable)
        program = f"{'python3' if is_ours else os.path.relpath(sys.executable)} main.py"
    logging.info("Next: %s %s", program, shlex.join(arguments))


def is_terminal() -> bool:
    """Returns whether a person watches, so that a moving bar makes sense."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
