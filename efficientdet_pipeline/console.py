"""How the program speaks: plain lines on the console, dated lines in the run's log.txt."""

import logging as standard_logging
import os
import sys
from pathlib import Path

from absl import logging


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
    logger.addHandler(_Console())
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
    logger.addHandler(handler)


def is_terminal() -> bool:
    """Returns whether a person watches, so that a moving bar makes sense."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
