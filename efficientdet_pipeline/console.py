"""Logging set-up: plain lines on the console, dated lines in the run's log.txt, and commands to copy."""

import contextlib
import io
import logging as standard_logging
import os
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from absl import logging

from tfrmod.urls import redact_urls

SCRIPT = "efficientdet-pipeline"
"""The console script that an installation brings."""
# The packages whose information is for the user; TensorFlow talks through the same logger.
_OURS = ("efficientdet_pipeline", "efficientdet", "tfrmod")


def _is_for_users(record: standard_logging.LogRecord) -> bool:
    is_ours = any(f"{os.sep}{package}{os.sep}" in record.pathname for package in _OURS)
    return is_ours or record.levelno >= standard_logging.ERROR or logging.level_debug()


def shown(text: str) -> str:
    """Returns a text as console and log may show it: URLs without secrets, no control characters.

    What is not printable (escape sequences that move a terminal's cursor or
    set its title, letters that turn the direction of writing) becomes its
    number; names of classes and files come from strangers.
    """
    text = redact_urls(text)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _number(letter) for letter in text)


def _number(letter: str) -> str:
    if unicodedata.category(letter) == "Zs":
        return " "
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def say(text: str) -> None:
    """Prints a text that is no message of the log, such as a report, as `shown` shows it."""
    print(shown(text), flush=True)


class _Console(standard_logging.Handler):
    """Prints what is said; warnings and errors go to stderr and say what they are."""

    def emit(self, record: standard_logging.LogRecord) -> None:
        text = shown(record.getMessage())
        stream = sys.stderr if record.levelno >= standard_logging.WARNING else sys.stdout
        if record.levelno >= standard_logging.ERROR:
            text = f"error: {text}"
        elif record.levelno >= standard_logging.WARNING:
            text = f"warning: {text}"
        try:
            print(text, file=stream, flush=True)
        except BrokenPipeError:
            # Whoever read along has gone, as `| head` does; that must not end a training.
            silence(stream)


class _Dated(standard_logging.Formatter):
    def format(self, record: standard_logging.LogRecord) -> str:
        """Returns a line of the log."""
        return shown(super().format(record))


class _LogFile(standard_logging.FileHandler):
    """Writes what is said behind what is there, with date and time."""

    def __init__(self, path: Path):
        super().__init__(path, encoding="utf-8")
        self.setFormatter(_Dated("%(asctime)s %(levelname).1s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))

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


def silence(stream: TextIO) -> None:
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


def print_next_command(*arguments: str) -> None:
    """Says what to type next, so that it can be copied as it stands."""
    logging.info("Next: %s", command_line(*arguments))


def command_line(*arguments: str) -> str:
    """Returns what to type for the arguments, quoted, right in the current folder and in this environment."""
    words = [*_program(), *arguments]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _program() -> list[str]:
    """Returns how this program is called: by its script, by main.py, or as a module."""
    script = sys.argv[0] if sys.argv else ""
    if os.path.splitext(os.path.basename(script))[0] == SCRIPT:
        found = shutil.which(SCRIPT)
        is_ours = found is not None and _is_same(os.path.dirname(found), os.path.dirname(os.path.abspath(script)))
        return [SCRIPT if is_ours else _place(script)]
    # freeze_model.py and others serve one mode; main.py beside them serves all.
    main = Path(__file__).resolve().parents[1] / "main.py"
    return [_python(), *([_place(str(main))] if main.is_file() else ["-m", "efficientdet_pipeline"])]


def _python() -> str:
    found = shutil.which("python3")
    # In an environment that is not activated, python3 is another one.
    is_ours = found is not None and _is_same(os.path.dirname(found), os.path.dirname(sys.executable))
    return "python3" if is_ours else _place(sys.executable)


def _is_same(folder: str, other: str) -> bool:
    return os.path.realpath(folder) == os.path.realpath(other)


def _place(path: str) -> str:
    """Returns a path relative to the current folder where it lies in there, absolute elsewhere."""
    path = os.path.abspath(path)
    try:
        inside = os.path.relpath(path)
    except ValueError:  # Another drive of Windows.
        return path
    return path if inside.startswith(os.pardir) else inside


def is_terminal() -> bool:
    """Returns whether a person watches, so that a moving bar makes sense."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
