"""Command-line entry point: parses options, runs a mode, maps errors to exit codes."""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from absl import logging

from efficientdet_pipeline import backend
from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.console import command_line, set_up_console, shown, silence, silent_native_log, use_json
from efficientdet_pipeline.errors import (
    ExitCode,
    OptionsError,
    OutOfMemoryError,
    PipelineError,
    StoppedError,
    check_processor,
    error_message,
    exit_code_of,
)
from efficientdet_pipeline.options.help import full_help_text, help_text, version_text
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.options.resolve import resolve_options
from efficientdet_pipeline.options.services import report_failure, service_options, without_service_word
from efficientdet_pipeline.storage.localize import local_storage
from efficientdet_pipeline.system import rare_garbage_collection

_HELP = {"--help", "-h", "-help", "--helpshort"}
_FULL_HELP = {"--helpfull", "-helpfull"}
_VERSION = {"--version", "-version", "-V"}


def main(argv: Sequence[str] | None = None, *, mode: str | None = None) -> int:
    """Runs one mode and returns the exit code.

    It may be called from any thread; SIGTERM is handled only in the main thread.

    Args:
      argv: the arguments without the program's name; default: the program's own.
      mode: the mode of a script that runs only one, such as freeze_model.py.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    set_up_console()
    use_json(False)
    try:
        with _sigterm_handler():
            code = _run(arguments, mode)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        logging.error("Stopped by Ctrl-C. What was finished is kept; the same command continues.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        silence(sys.stdout)  # The reader, such as `| head`, closed the pipe.
        return ExitCode.DONE
    except Exception as error:
        logging.error("%s", error_message(error))
        report_failure(error_message(error), os.environ)
        if _wants_traceback(arguments):
            print(shown(traceback.format_exc()), file=sys.stderr, end="", flush=True)
        if argv is None and isinstance(error, OutOfMemoryError) and error.continuation:
            _replace_process([sys.executable, *error.continuation])
        return exit_code_of(error)


def _run(arguments: list[str], mode: str | None) -> ExitCode:
    reader = _reader()
    classes, summaries = reader.classes, {name: each.summary for name, each in MODES.items()}
    if _VERSION & set(arguments):
        print(version_text())
        return ExitCode.DONE
    if _FULL_HELP & set(arguments):
        print(full_help_text(classes, summaries))
        return ExitCode.DONE
    if _HELP & set(arguments):
        asked = mode or _mode_asked_for(arguments)
        print(help_text(asked, classes[asked], summaries))
        return ExitCode.DONE
    arguments = without_service_word(arguments, os.environ)
    offers = service_options(os.environ)
    read = reader.read(_with_mode(arguments, mode) if mode else arguments, os.environ, offers)
    with local_storage(read) as local:
        options, sources, hparams = resolve_options(reader, local, MODES[local.mode].options_class())
        backend.prepare_environment(debug=options.general.debug)
        os.environ.setdefault("MPLBACKEND", "Agg")
        backend.choose(options.keras_backend)
        use_json(options.general.log_format == "json")
        if options.general.debug:
            logging.set_verbosity(logging.DEBUG)
        check_processor()
        with silent_native_log(unless=options.general.debug), rare_garbage_collection():
            runner = MODES[sources.mode].runner()
        return runner(options, sources, hparams) or ExitCode.DONE


def _replace_process(command: list[str]) -> None:
    """Replaces this process by another program: only then is all accelerator memory released."""
    if os.name == "nt" or not hasattr(os, "execv"):  # On Windows, execv returns to the shell at once.
        sys.exit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)


def _reader() -> Reader:
    return Reader({name: each.options_class() for name, each in MODES.items()}, DEFAULT_MODE)


def _mode_asked_for(arguments: list[str]) -> str:
    """Returns the mode to explain; other options may be invalid when help is requested."""
    words = [word.removeprefix("--mode=") for word in arguments]
    named = [word for word in words if word in MODES]
    if named:
        return named[-1]
    try:
        return _reader().read([word for word in arguments if word not in _HELP], os.environ).mode
    except PipelineError:
        return DEFAULT_MODE


def _wants_traceback(arguments: list[str]) -> bool:
    """Returns whether the options ask for tracebacks, even if other options are invalid."""
    try:
        reader = _reader()
        return any(reader.asks_for(name, arguments, os.environ) for name in ("traceback", "debug"))
    except Exception:  # An error in the parser itself: report the first error.
        return False


def _with_mode(tokens: list[str], mode: str) -> list[str]:
    """Returns the tokens of a script for one mode; another mode is an error."""
    for token in tokens:
        if token.lstrip("-").startswith("mode=") and token.partition("=")[2] != mode:
            raise OptionsError(
                f"This script supports only --mode={mode}. Received {token}; try `{command_line(token)}`."
            )
    return [*tokens, f"--mode={mode}"]


@contextmanager
def _sigterm_handler() -> Iterator[None]:
    """Raises StoppedError at SIGTERM; Python handles signals only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_stopped)
    try:
        yield
    finally:
        # None: the previous handler was not installed from Python and cannot be restored.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise StoppedError(
        "Stopped by SIGTERM. What was finished is kept; the same command continues.", exit_code=ExitCode.TRY_AGAIN
    )
