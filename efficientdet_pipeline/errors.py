"""What can go wrong for a user, and the exit code each case ends with.

Exit codes follow sysexits.h where it has the word, so that a scheduler can
tell "mend the options" (2) from "mend the data" (65) from "try again" (75).
"""

import errno
import re
from enum import IntEnum


class ExitCode(IntEnum):
    """How the program ends; the README's table is made from these docstrings."""

    DONE = 0
    OPTIONS = 2
    WARNINGS = 3
    DATA = 65
    MISSING = 66
    BUG = 70
    CANNOT_WRITE = 73
    TRY_AGAIN = 75
    INTERRUPTED = 130


EXIT_CODE_MEANING: dict[ExitCode, str] = {
    ExitCode.DONE: "done (also `--help`, `--helpfull`)",
    ExitCode.OPTIONS: "wrong, missing or contradictory options; a batch larger than the data",
    ExitCode.WARNINGS: "`--mode=doctor` found something to mend, though nothing that a training would fail of",
    ExitCode.DATA: "data or archive bad or without usable photos; hash differs; checkpoint damaged",
    ExitCode.MISSING: "path missing, or HTTP 404",
    ExitCode.BUG: "our own bug; please report it with `--traceback`",
    ExitCode.CANNOT_WRITE: "cannot write: no permission, or disk full",
    ExitCode.TRY_AGAIN: "network down, or stopped by SIGTERM after its checkpoint; the same command continues",
    ExitCode.INTERRUPTED: "Ctrl-C, after its checkpoint; the same command continues",
}


class PipelineError(Exception):
    """A sentence for the user, with the exit code it ends the program with."""

    exit_code = ExitCode.BUG


class OptionsError(PipelineError):
    """Wrong, missing or contradictory options.

    `option` names the option at fault, so that the reader of the options can
    add where its value came from.
    """

    exit_code = ExitCode.OPTIONS

    def __init__(self, message: str, *, option: str | None = None):
        super().__init__(message)
        self.option = option


class OutOfMemoryError(OptionsError):
    """A batch that does not fit.

    `continuation` are a Python's arguments: the program that says which batch
    fits, once this process has given back its memory.
    """

    def __init__(self, message: str, *, continuation: tuple[str, ...] = ()):
        super().__init__(message, option="batch_size")
        self.continuation = continuation


class DataError(PipelineError):
    """Data that cannot be used."""

    exit_code = ExitCode.DATA


class MissingError(PipelineError):
    """A path that is not there."""

    exit_code = ExitCode.MISSING


class CannotWriteError(PipelineError):
    """A place that cannot be written."""

    exit_code = ExitCode.CANNOT_WRITE


class StoppedError(PipelineError):
    """The run was asked to stop and left a checkpoint to continue from."""

    def __init__(self, message: str, *, exit_code: ExitCode):
        super().__init__(message)
        self.exit_code = exit_code


# The place is at fault: full, closed to us, or taken by a file where a folder must be. Pages that only read say so
# themselves.
_CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST),
}


def exit_code_of(error: BaseException) -> ExitCode:
    """Returns the exit code that `error` ends the program with."""
    if isinstance(error, PipelineError):
        return error.exit_code
    if isinstance(error, OSError):
        return _exit_code_of_os_error(error)
    if "No space left on device" in str(error):
        return ExitCode.CANNOT_WRITE
    # The detector and the mill know nothing of exit codes; their errors are told apart by name,
    # because importing them here would make --help wait for them.
    names = {base.__name__ for base in type(error).__mro__}
    if "NetworkError" in names:
        return ExitCode.TRY_AGAIN
    if "DatasetError" in names:
        return ExitCode.MISSING if getattr(error, "missing", False) else ExitCode.DATA
    if "CheckpointError" in names:
        return ExitCode.DATA
    return ExitCode.BUG


def error_message(error: BaseException) -> str:
    """Returns what the user is told of `error`: one paragraph."""
    if exit_code_of(error) is ExitCode.BUG:
        return (
            f"This is a defect of this program, not of your data: {type(error).__name__}: {error}. "
            "Please report it with the output of the same command and --traceback."
        )
    if isinstance(error, PipelineError):
        return str(error)
    if exit_code_of(error) is ExitCode.CANNOT_WRITE:
        verb = "read or write" if isinstance(error, PermissionError) else "write"
        place, reason = _place_and_reason(error)
        return (
            f"Cannot {verb}{place}: {reason}. The run's folder must be writable with room to spare; "
            "try --workspace on another disk, or free some space: the same command continues."
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.strerror}: {error.filename}. Check the path."
    return str(error)


def _place_and_reason(error: BaseException) -> tuple[str, str]:
    """Returns the file that cannot be written, with a blank before it, and why; HDF5 has words of its own."""
    named = re.search(r"filename = '([^']+)'", str(error))
    place = getattr(error, "filename", None) or (named[1] if named else "")
    is_full = "No space left on device" in str(error)
    reason = "No space left on device" if is_full else getattr(error, "strerror", None) or str(error)
    return (f" {place}" if place else ""), reason


def _exit_code_of_os_error(error: OSError) -> ExitCode:
    if error.errno in _CANNOT_WRITE or "No space left on device" in str(error):
        return ExitCode.CANNOT_WRITE
    if isinstance(error, FileNotFoundError | IsADirectoryError) or error.errno == errno.ENAMETOOLONG:
        return ExitCode.MISSING
    return ExitCode.BUG


def check_processor() -> None:
    """Raises OptionsError on a processor that TensorFlow's wheel would kill the program on, without a word."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return
    if flags and " avx " not in f"{flags.strip()} ":
        raise OptionsError(
            "TensorFlow needs a processor with AVX instructions. This one has none (/proc/cpuinfo); "
            "use another machine, or a TensorFlow built for this one."
        )
