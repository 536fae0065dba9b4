"""Command-line entry point: parses options, runs a mode, maps errors to exit codes."""

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

from absl import logging

from efficientdet_pipeline import backend
from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.console import command_line, set_up_console, shown, silence, silent_native_log
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
from efficientdet_pipeline.options.parser import Reader, Sources
from efficientdet_pipeline.system import free_memory

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
    sources = reader.read(_with_mode(arguments, mode) if mode else arguments, os.environ)
    _warn_of_options_without_effect(sources)
    sources, hparams = _with_hparams(sources, classes[sources.mode], reader.known)
    options = reader.build(sources, hparams.options)
    _warn_of_options_not_read(options, sources, hparams)
    _prepare_environment(debug=options.debug)
    backend.choose(getattr(options, "backend", None))
    if options.debug:
        logging.set_verbosity(logging.DEBUG)
    check_processor()
    with silent_native_log(unless=options.debug):
        runner = MODES[sources.mode].runner()
    return runner(options, sources, hparams) or ExitCode.DONE


def _replace_process(command: list[str]) -> None:
    """Replaces this process by another program: only then is all accelerator memory released."""
    if os.name == "nt" or not hasattr(os, "execv"):  # On Windows, execv returns to the shell at once.
        sys.exit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)


def _with_hparams(sources: Sources, options_class: type, all_options: Any) -> tuple[Sources, Any]:
    """Returns the sources with one --hparams, merged from all that were given, and its values."""
    from efficientdet_pipeline.options.hparams import HparamsGiven, merge_hparams

    given = sources.given.get("hparams")
    if given is None:
        return sources, HparamsGiven()
    hparams, replaced = merge_hparams(given.all, options_class, all_options)
    for key, reason in hparams.ignored.items():
        logging.warning("--hparams: %s has no effect here: %s.", key, reason)
    texts: list[str] = []
    for each in given.all:
        texts = [*texts, each.value.strip()] if each.value.strip() else []
    if len(given.all) > 1:
        where = ", then ".join(dict.fromkeys(each.source for each in given.all))
        logging.info(
            "--hparams is merged by key from %s; the last value takes precedence%s.",
            where,
            f" ({', '.join(replaced)})" if replaced else "",
        )
    merged = replace(given, value=",".join(texts), source=" and ".join(dict.fromkeys(g.source for g in given.all)))
    return replace(sources, given={**sources.given, "hparams": replace(merged, earlier=())}), hparams


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


def _warn_of_options_without_effect(sources: Sources) -> None:
    without_effect: dict[str, list[str]] = {}
    for name, given in sources.without_effect.items():
        if not given.source.startswith("the environment"):
            without_effect.setdefault(given.source.partition(", line")[0], []).append(f"--{name}")
    for source, names in without_effect.items():
        logging.warning("No effect in --mode=%s: %s (from %s).", sources.mode, ", ".join(names), source)
    for name in sources.not_taken:
        logging.warning(
            "The environment variable %s has no effect: --%s is read only from the command line or an @file.",
            name,
            name,
        )


def _warn_of_options_not_read(options: Any, sources: Sources, hparams: Any) -> None:
    """Warns of options that were given and have no effect with the others, grouped by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in options.without_effect().items():
        if name == "hparams":
            by_reason.setdefault(reason, []).extend(f"{key} of --hparams" for key in hparams.network)
        elif name in sources.given and not sources.given[name].source.startswith("the environment"):
            by_reason.setdefault(reason, []).append(f"--{name}")
        elif name in hparams.options:
            by_reason.setdefault(reason, []).append(f"{name} of --hparams")
    for reason, names in by_reason.items():
        if names:
            logging.warning("No effect here: %s (%s).", ", ".join(names), reason)


def _prepare_environment(*, debug: bool) -> None:
    """Sets environment variables that TensorFlow reads when it is loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    # Without it the step time of a CPU swings between 0.56 and 1.0 s with page faults of large temporaries.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    # A batch too large for the memory then raises an error; otherwise the OOM killer would end the process.
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(_memory_for_tensors() >> 20))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("MPLBACKEND", "Agg")


def _memory_for_tensors() -> int:
    """Returns the memory limit for tensors in bytes; a tenth of the available memory is left to everything else."""
    return min(free_memory() * 9 // 10, 1 << 45)


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
