"""Exceptions of the pipeline and their exit codes.

Exit codes follow sysexits.h where it defines one, so that a scheduler can
distinguish "fix the options" (2), "fix the data" (65) and "try again" (75).
"""

import errno
import re
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the program; EXIT_CODE_MEANING describes them."""

    DONE = 0
    OPTIONS = 2
    WARNINGS = 3
    DATA = 65
    MISSING = 66
    NOT_INSTALLED = 69
    BUG = 70
    CANNOT_WRITE = 73
    TRY_AGAIN = 75
    ACCURACY_LOST = 79
    INTERRUPTED = 130


EXIT_CODE_MEANING: dict[ExitCode, str] = {
    ExitCode.DONE: "done (also `--help`, `--helpfull`)",
    ExitCode.OPTIONS: "wrong, missing or contradictory options; a batch larger than the data; too little memory",
    ExitCode.WARNINGS: "`--mode=doctor` found warnings, but no errors that would make a training fail",
    ExitCode.DATA: "invalid data or archive, or no usable images; checksum mismatch; damaged checkpoint",
    ExitCode.MISSING: "path missing, or HTTP 404",
    ExitCode.NOT_INSTALLED: "an optional package is not installed; the message has the pip command",
    ExitCode.BUG: "internal error; please report it with `--traceback`",
    ExitCode.CANNOT_WRITE: "cannot write: no permission, or disk full",
    ExitCode.TRY_AGAIN: "no network, or stopped by SIGTERM after saving a checkpoint; the same command continues",
    ExitCode.ACCURACY_LOST: "an exported artifact loses more AP against the checkpoint than allowed",
    ExitCode.INTERRUPTED: "Ctrl-C, after saving a checkpoint; the same command continues",
}


class PipelineError(Exception):
    """Base class of errors with a message for the user and an exit code."""

    exit_code = ExitCode.BUG


class OptionsError(PipelineError):
    """Wrong, missing or contradictory options.

    `option` is the name of the invalid option, so that the parser can add the
    source of its value.
    """

    exit_code = ExitCode.OPTIONS

    def __init__(self, message: str, *, option: str | None = None):
        super().__init__(message)
        self.option = option


class OutOfMemoryError(OptionsError):
    """A batch that does not fit in memory.

    `continuation` are arguments of the Python interpreter: the program that finds
    the batch size that fits, once this process has released its memory.
    """

    def __init__(self, message: str, *, continuation: tuple[str, ...] = ()):
        super().__init__(message, option="batch_size")
        self.continuation = continuation


class DataError(PipelineError):
    """Data that cannot be used."""

    exit_code = ExitCode.DATA


class MissingError(PipelineError):
    """A path that does not exist."""

    exit_code = ExitCode.MISSING


class MissingExtraError(PipelineError):
    """An optional package that is not installed."""

    exit_code = ExitCode.NOT_INSTALLED


class AccuracyError(PipelineError):
    """An exported artifact whose average precision is too far below the checkpoint's."""

    exit_code = ExitCode.ACCURACY_LOST


class CannotWriteError(PipelineError):
    """A path that cannot be written."""

    exit_code = ExitCode.CANNOT_WRITE


class DownloadError(PipelineError):
    """A download that failed temporarily; the same call resumes it."""

    exit_code = ExitCode.TRY_AGAIN


class StoppedError(PipelineError):
    """The run was stopped by a signal after saving a checkpoint to resume from."""

    def __init__(self, message: str, *, exit_code: ExitCode):
        super().__init__(message)
        self.exit_code = exit_code


# The path is at fault: disk full, no permission, or a file where a folder must be. Modules that only read raise their
# own errors.
_CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST),
}
# A mounted bucket or network disk that has gone. Windows lacks some of these names.
_MOUNT_GONE = {
    getattr(errno, name)
    for name in ("ENOTCONN", "ESTALE", "EHOSTDOWN", "ENODEV", "EREMOTEIO", "ENOLINK")
    if hasattr(errno, name)
}


# Python's and NumPy's, and TensorFlow's.
_OUT_OF_MEMORY = {"MemoryError", "ResourceExhaustedError"}
# TensorFlow's messages about a record: damaged, or refused by an assertion, whose values follow in brackets.
_FAULT = re.compile(r"(\w+ record at \d+)|assertion failed: \[([^\]]*)\](.*)")
_DAMAGED_IMAGE = re.compile(r"Invalid (?:PNG|JPEG|GIF|WebP) data|Unknown image file format|Incomplete BMP content")


def exit_code_of(error: BaseException) -> ExitCode:
    """Returns the exit code for `error`."""
    if isinstance(error, PipelineError):
        return error.exit_code
    if isinstance(error, OSError):
        return _exit_code_of_os_error(error)
    if "No space left on device" in str(error):
        return ExitCode.CANNOT_WRITE
    # efficientdet and tfrmod define no exit codes; their errors are identified by name, because
    # importing them here would slow down --help.
    names = {base.__name__ for base in type(error).__mro__}
    if "NetworkError" in names:
        return ExitCode.TRY_AGAIN
    if names & {"DatasetError", "CheckpointError"}:
        return ExitCode.MISSING if getattr(error, "missing", False) else ExitCode.DATA
    if names & _OUT_OF_MEMORY:
        return ExitCode.OPTIONS
    return ExitCode.DATA if _fault_of_record(error) else ExitCode.BUG


def _fault_of_record(error: BaseException) -> str:
    """Returns what TensorFlow found to be wrong with a record; an empty text for another error."""
    if type(error).__name__ not in ("DataLossError", "InvalidArgumentError"):
        return ""
    damaged, found = _DAMAGED_IMAGE.search(str(error)), _FAULT.search(str(error))
    if damaged:
        return (
            f"An image in the shards is damaged ({damaged[0]}). --mode=doctor --train_file_pattern='SHARDS-*' names "
            "it; convert the images again without --no_verify, which leaves damaged ones out."
        )
    if found and found[1]:
        return f"A shard is damaged or no TFRecord file ({found[1]}). --mode=verify --file_pattern='SHARDS-*' finds it."
    return f"{found[2]}{found[3]}" if found else ""


def error_message(error: BaseException) -> str:
    """Returns the message for the user: one paragraph."""
    if exit_code_of(error) is ExitCode.BUG:
        return (
            f"Internal error: {type(error).__name__}: {error}. "
            "Please report it with the output of the same command and --traceback."
        )
    if isinstance(error, PipelineError):
        return str(error)
    if exit_code_of(error) is ExitCode.CANNOT_WRITE:
        is_gone = isinstance(error, OSError) and error.errno in _MOUNT_GONE
        verb = "read or write" if isinstance(error, PermissionError) or is_gone else "write"
        place, reason = _place_and_reason(error)
        if is_gone:
            return (
                f"Cannot {verb}{place}: {reason}. The folder is on a mounted bucket or network disk that has gone; "
                "mount it again: the same command continues."
            )
        return (
            f"Cannot {verb}{place}: {reason}. The folder must be writable with room to spare; free some space, or "
            "choose a folder on another disk, for a run by --workspace: the same command continues."
        )
    if exit_code_of(error) is ExitCode.OPTIONS:
        return (
            f"The memory is too small: {str(error).strip() or type(error).__name__}. "
            "Choose a smaller network, --image_size or --batch_size, or a machine with more memory."
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.strerror}: {error.filename}. Check the path."
    return _fault_of_record(error) or str(error)


def pipeline_error(error: Exception) -> Exception:
    """Returns `error` as one of this module with the message of the command line; an internal error unchanged."""
    classes = {
        each.exit_code: each for each in (OptionsError, DataError, MissingError, CannotWriteError, DownloadError)
    }
    found = classes.get(exit_code_of(error))
    return error if isinstance(error, PipelineError) or found is None else found(error_message(error))


def _place_and_reason(error: BaseException) -> tuple[str, str]:
    """Returns the file that cannot be written, with a space before it, and the reason; HDF5 phrases it differently."""
    named = re.search(r"filename = '([^']+)'", str(error))
    place = getattr(error, "filename", None) or (named[1] if named else "")
    is_full = "No space left on device" in str(error)
    reason = "No space left on device" if is_full else getattr(error, "strerror", None) or str(error)
    return (f" {place}" if place else ""), reason


def _exit_code_of_os_error(error: OSError) -> ExitCode:
    if error.errno in _CANNOT_WRITE | _MOUNT_GONE or "No space left on device" in str(error):
        return ExitCode.CANNOT_WRITE
    if isinstance(error, FileNotFoundError | IsADirectoryError) or error.errno == errno.ENAMETOOLONG:
        return ExitCode.MISSING
    return ExitCode.BUG


def check_processor() -> None:
    """Raises OptionsError on a processor without AVX, where TensorFlow's wheel crashes without a message."""
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
