"""How the program speaks: plain lines on the console, dated lines in the run's log.txt."""

import contextlib
import logging as standard_logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

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
        if record.levelno >= standard_logging.ERROR:
            print(f"error: {text}", file=sys.stderr, flush=True)
        elif record.levelno >= standard_logging.WARNING:
            print(f"warning: {text}", file=sys.stderr, flush=True)
        else:
            print(text, flush=True)


class _DatedFormatter(standard_logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")


def set_up_console() -> None:
    """Sends absl's log to the console as plain lines, from INFO up."""
    logger = logging.get_absl_logger()
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    console = _Console()
    console.addFilter(_is_for_users)
    logger.addHandler(console)
    logger.propagate = False
    logging.set_verbosity(logging.INFO)


def log_to_file(path: Path) -> None:
    """Writes everything said from now on into `path` too, behind what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.get_absl_logger()
    for handler in list(logger.handlers):
        if isinstance(handler, standard_logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()
    handler = standard_logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_DatedFormatter())
    handler.addFilter(_is_for_users)
    logger.addHandler(handler)


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


def is_terminal() -> bool:
    """Returns whether a person watches, so that a moving bar makes sense."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
