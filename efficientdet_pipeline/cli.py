"""The door: reads the options, runs the mode, and answers for how the program ends."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from absl import logging

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.console import set_up_console, silent_native_log
from efficientdet_pipeline.errors import (
    ExitCode,
    OptionsError,
    StoppedError,
    exit_code_of,
    refuse_old_processor,
    sentence_of,
)
from efficientdet_pipeline.options.help import full_help_text, help_text
from efficientdet_pipeline.options.reader import Reader, Sources

_HELP = {"--help", "-h", "-help", "--helpshort"}
_FULL_HELP = {"--helpfull", "-helpfull"}


def main(argv: Sequence[str] | None = None, *, mode: str | None = None) -> int:
    """Runs one mode and returns the exit code.

    Args:
      argv: the arguments without the program's name; default: the program's own.
      mode: the mode of a door that serves only one, such as freeze_model.py.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    set_up_console()
    show_traceback = any(token in {"--traceback", "--traceback=true", "--debug", "--debug=true"} for token in arguments)
    signal.signal(signal.SIGTERM, _stop_softly)
    try:
        return _run(arguments, mode)
    except KeyboardInterrupt:
        logging.error("Stopped by Ctrl-C. What was finished is kept; the same command continues.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has closed it; a second complaint at exit would be noise.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - it lives until the program ends
        return ExitCode.DONE
    except Exception as error:
        logging.error("%s", sentence_of(error))
        if show_traceback:
            traceback.print_exc()
        return exit_code_of(error)


def _run(arguments: list[str], mode: str | None) -> int:
    classes = {name: each.options_class() for name, each in MODES.items()}
    summaries = {name: each.summary for name, each in MODES.items()}
    reader = Reader(classes, DEFAULT_MODE)
    if _FULL_HELP & set(arguments):
        print(full_help_text(classes, summaries))
        return ExitCode.DONE
    wants_help = bool(_HELP & set(arguments))
    tokens = [token for token in arguments if token not in _HELP]
    if mode is not None:
        tokens = _with_mode(tokens, mode)
    try:
        sources = reader.read(tokens, os.environ)
    except OptionsError:
        if not wants_help:
            raise
        sources = Sources(mode or DEFAULT_MODE, {}, {})
    if wants_help:
        print(help_text(sources.mode, classes[sources.mode], summaries))
        return ExitCode.DONE
    _warn_of_options_without_effect(sources)

    from efficientdet_pipeline.options.hparams import read_hparams

    given = sources.given.get("hparams")
    hparams = read_hparams(given.value if given else "", sources.source_of("hparams"), classes[sources.mode])
    for key, reason in hparams.ignored.items():
        logging.warning("--hparams: %s has no effect here: %s.", key, reason)
    options = reader.build(sources, hparams.options)
    _prepare_environment(debug=options.debug)
    if options.debug:
        logging.set_verbosity(logging.DEBUG)
    refuse_old_processor()
    with silent_native_log(unless=options.debug):
        runner = MODES[sources.mode].runner()
    runner(options, sources, hparams)
    return ExitCode.DONE


def _with_mode(tokens: list[str], mode: str) -> list[str]:
    """Returns the tokens of a door for one mode; another mode there is an error."""
    for token in tokens:
        if token.lstrip("-").startswith("mode=") and token.partition("=")[2] != mode:
            raise OptionsError(
                f"This script is for --mode={mode} alone. Received {token}; try `python3 main.py {token}`."
            )
    return [*tokens, f"--mode={mode}"]


def _warn_of_options_without_effect(sources: Sources) -> None:
    without_effect: dict[str, list[str]] = {}
    for name, given in sources.without_effect.items():
        if not given.source.startswith("the environment"):
            without_effect.setdefault(given.source.partition(", line")[0], []).append(f"--{name}")
    for source, names in without_effect.items():
        logging.warning("No effect in --mode=%s: %s (from %s).", sources.mode, ", ".join(names), source)


def _prepare_environment(*, debug: bool) -> None:
    """Sets what must stand before TensorFlow loads."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    # Without it the step time of a CPU swings between 0.56 and 1.0 s with page faults of large temporaries.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("MPLBACKEND", "Agg")


def _stop_softly(number: int, frame: FrameType | None) -> None:
    raise StoppedError(
        "Stopped by SIGTERM. What was finished is kept; the same command continues.", exit_code=ExitCode.TRY_AGAIN
    )
