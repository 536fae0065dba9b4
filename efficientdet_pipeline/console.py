"""Logging set-up (console and log.txt), sanitized output, and commands to copy."""

import contextlib
import io
import json
import logging as standard_logging
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from absl import logging

from efficientdet_pipeline.addresses import with_addresses
from tfrmod.urls import redact_urls

SCRIPT = "efficientdet-pipeline"
"""Name of the installed console script."""
# Only INFO messages of these packages are shown; TensorFlow uses the same logger.
_OURS = ("efficientdet_pipeline", "efficientdet", "tfrmod")


def _is_for_users(record: standard_logging.LogRecord) -> bool:
    is_ours = any(f"{os.sep}{package}{os.sep}" in record.pathname for package in _OURS)
    return is_ours or record.levelno >= standard_logging.ERROR or logging.level_debug()


def shown(text: str) -> str:
    """Returns a text sanitized for console and log: URLs without secrets, no control characters.

    Unprintable characters (escape sequences that move a terminal's cursor or
    set its title, characters that change the writing direction) are replaced by
    their escape codes; names of classes and files are untrusted input.
    """
    text = redact_urls(text)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _number(letter) for letter in text)


def _number(letter: str) -> str:
    if unicodedata.category(letter) == "Zs":
        return " "
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


_is_json = False


def use_json(chosen: bool) -> None:
    """Prints log messages as JSON lines on stdout from now on, or as text."""
    global _is_json  # noqa: PLW0603 - the console is one for the process
    _is_json = chosen


def say(text: str) -> None:
    """Prints a text that is not a log message, such as a report, sanitized by `shown`."""
    if _is_json:
        _print_json("info", message=shown(text))
    else:
        print(shown(text), flush=True)


def print_event(event: str, values: Mapping[str, float | int | str]) -> None:
    """Prints an event with its values where the console has JSON lines; text has them in messages."""
    if _is_json:
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        _print_json("info", event=event, **finite)


def _print_json(level: str, **fields: float | int | str | None) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "level": level, **fields}, ensure_ascii=True)
    try:
        print(line, flush=True)
    except BrokenPipeError:
        silence(sys.stdout)


class _Console(standard_logging.Handler):
    """Prints log messages; warnings and errors go to stderr with a prefix."""

    def emit(self, record: standard_logging.LogRecord) -> None:
        text = shown(record.getMessage())
        if _is_json:
            _print_json(record.levelname.lower(), message=text)
            return
        stream = sys.stderr if record.levelno >= standard_logging.WARNING else sys.stdout
        if record.levelno >= standard_logging.ERROR:
            text = f"error: {text}"
        elif record.levelno >= standard_logging.WARNING:
            text = f"warning: {text}"
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode("ascii"), file=stream, flush=True)
        except BrokenPipeError:
            # The reader of the pipe exited, as `| head` does; that must not end a training.
            silence(stream)


class _Dated(standard_logging.Formatter):
    def format(self, record: standard_logging.LogRecord) -> str:
        """Returns a line of the log."""
        return shown(super().format(record))


class _LogFile(standard_logging.FileHandler):
    """Appends log messages to a file, with date and time."""

    def __init__(self, path: Path):
        super().__init__(path, encoding="utf-8")
        self.setFormatter(_Dated("%(asctime)s %(levelname).1s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))

    def emit(self, record: standard_logging.LogRecord) -> None:
        """Writes a message; a file that cannot be opened again, because its folder was deleted, gets none."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: standard_logging.LogRecord) -> None:
        """Ignores write errors; a full disk surfaces where it matters."""


def set_up_console() -> None:
    """Sends the logs of absl and `logging` to the console as plain lines, from INFO up."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # Closed by the parent process: the next file opened would get its descriptor.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # A character that the console cannot encode must not end a run.
    _listen(_Console())
    logging.set_verbosity(logging.INFO)


_calls = 0
_before: tuple[list[standard_logging.Handler], int] = ([], 0)
_calls_lock = threading.Lock()


@contextlib.contextmanager
def console_logging() -> Iterator[None]:
    """Logs to the console inside, as the command line does; afterwards logging is what the calling program had set.

    Streams stay as they are. Calls may overlap in several threads: the last one to end restores.
    """
    global _calls, _before  # noqa: PLW0603 - the root logger is one for the process
    root = standard_logging.getLogger()
    with _calls_lock:
        if not _calls:
            _before = (list(root.handlers), logging.get_verbosity())
            _listen(_Console())
            logging.set_verbosity(logging.INFO)
        _calls += 1
    try:
        yield
    finally:
        with _calls_lock:
            _calls -= 1
            if not _calls:
                handlers, verbosity = _before
                for each in [each for each in root.handlers if isinstance(each, _Console | _LogFile)]:
                    if each not in handlers:
                        root.removeHandler(each)
                        each.close()
                for handler in [each for each in handlers if each not in root.handlers]:
                    root.addHandler(handler)
                logging.set_verbosity(verbosity)


def log_to_file(path: Path) -> None:
    """Appends all further log messages to `path` too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _listen(_LogFile(path))


def _listen(handler: standard_logging.Handler) -> None:
    """Installs a handler on the root logger, replacing one of the same class."""
    root = standard_logging.getLogger()
    for other in [each for each in root.handlers if type(each) is type(handler)]:
        root.removeHandler(other)
        other.close()
    handler.addFilter(_is_for_users)
    root.addHandler(handler)


def silence(stream: TextIO) -> None:
    """Redirects a stream to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def silent_native_log(*, unless: bool) -> Iterator[None]:
    """Suppresses what TensorFlow prints to stderr while it is loaded, whatever the log level."""
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


@contextlib.contextmanager
def native_lines_dropped(*beginnings: str) -> Iterator[None]:
    """Drops lines with these beginnings from what the block prints to stderr, native code too; the others follow it."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            rest = b"".join(line for line in held if not line.startswith(tuple(map(str.encode, beginnings))))
            with open(2, "wb", closefd=False) as stderr:
                stderr.write(rest)


def print_next_command(*arguments: str) -> None:
    """Logs the next command to run, ready to copy; it names buckets as the user did."""
    logging.info("Next: %s", command_line(*map(with_addresses, arguments)))


def command_line(*arguments: str) -> str:
    """Returns the shell command for the arguments, quoted, valid in the current folder and environment."""
    words = [*_program(), *arguments]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _program() -> list[str]:
    """Returns how this program was started: by its script, by main.py, or as a module."""
    script = sys.argv[0] if sys.argv else ""
    if os.path.splitext(os.path.basename(script))[0] == SCRIPT:
        found = shutil.which(SCRIPT)
        is_ours = found is not None and _is_same(os.path.dirname(found), os.path.dirname(os.path.abspath(script)))
        return [SCRIPT if is_ours else _place(script)]
    # freeze_model.py and others run one mode; main.py in the same folder runs all.
    main = Path(__file__).resolve().parents[1] / "main.py"
    return [_python(), *([_place(str(main))] if main.is_file() else ["-m", "efficientdet_pipeline"])]


def _python() -> str:
    found = shutil.which("python3")
    # If the environment is not activated, python3 is another interpreter.
    is_ours = found is not None and _is_same(os.path.dirname(found), os.path.dirname(sys.executable))
    return "python3" if is_ours else _place(sys.executable)


def _is_same(folder: str, other: str) -> bool:
    return os.path.realpath(folder) == os.path.realpath(other)


def _place(path: str) -> str:
    """Returns a path relative to the current folder if it is inside it, otherwise absolute."""
    path = os.path.abspath(path)
    try:
        inside = os.path.relpath(path)
    except ValueError:  # Another drive of Windows.
        return path
    return path if inside.startswith(os.pardir) else inside


def is_terminal() -> bool:
    """Returns whether stderr is an interactive terminal that can show a progress bar."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
