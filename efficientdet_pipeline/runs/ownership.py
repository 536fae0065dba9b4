"""Ownership of files in a run's folder: only files written by this program are replaced or deleted."""

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from efficientdet_pipeline.errors import ExitCode, OptionsError, exit_code_of
from efficientdet_pipeline.runs.metadata import read_json
from efficientdet_pipeline.runs.output_files import NOTE
from efficientdet_pipeline.runs.run_dir import RunFolder, locked
from tfrmod import fileio
from tfrmod.fileio import remove_stale_lock
from tfrmod.manifest import SPLITS

MARKER = ".efficientdet-run"
"""Marker file of a run's folder, written only if no file had the name of a run's file."""

_RECORDS = {".lock", MARKER, "args.yaml", "log.txt", "metadata.json"}
_SHOWN = 5
_CHECKPOINT_FILES = r"(?:model\.weights\.h5|hparams_config\.yaml|state\.npz|ranges\.json|checkpoint\.json)"
_SHARD_FILES = rf"(?:(?:{'|'.join(SPLITS)})(?:-\d{{5}}-of-\d{{5}}\.tfrecord|\.txt)|manifest\.json|problems\.jsonl)"
_EXPORT_FILES = (
    r"(?:saved_model/.*|[^/]*_frozen\.pb|efficientdet-[^/]*\.(?:tflite|onnx|xml|bin)|label_map\.yaml"
    r"|hparams_config\.yaml|thresholds\.yaml|quantization\.yaml|report\.json|MODEL_CARD\.md|sha256sums\.txt"
    rf"|{re.escape(NOTE)})"
)
_REPORT_FILES = r"(?:index\.html|evaluation\.npz|findings\.json)"
_PICTURES = r"confusion_matrix|pr_curve|f1_curve|labels|train_batch0|val_batch0_(?:labels|pred)|label_errors"
_EVALUATION_FILES = (
    rf"(?:metrics\.json|thresholds\.yaml|label_errors\.csv|(?:{_PICTURES})\.(?:png|jpg)|report/{_REPORT_FILES})"
)
_SYSTEM_FILES = {".ds_store", "thumbs.db", "desktop.ini"}
_NAMES = (
    r"args\.yaml|metadata\.json|log\.txt|results\.(?:csv(?:\.damaged)?|png)|incidents\.jsonl|(?:bad_steps|compression)\.json",
    rf"metrics(?:_[^/]*)?\.json|\.lock|{re.escape(MARKER)}|\.(?:tfrecords|export)\.lock",
    rf"checkpoints/(?:last|best)(?:\.previous\d*)?(?:\.damaged\d*)?/{_CHECKPOINT_FILES}",
    r"checkpoints/(?:last|best)(?:\.previous\d*)?/metrics_[^/]*\.json",
    rf"checkpoints/\.(?:last|best)\.(?:new|old)/{_CHECKPOINT_FILES}",
    r"wandb/.*",
    r"tensorboard/(?:[^/]*/)*[^/]*tfevents[^/]*|tensorboard/plugins/profile/.*",
    r"pictures/(?:validation|doctor)\.png",
    rf"(?:evaluations/[^/]+/)?{_EVALUATION_FILES}",
    rf"export/{_EXPORT_FILES}|\.export\.previous/{_EXPORT_FILES}|export/\.export[^/]*(?:/.*)?",
    rf"tfrecords/(?:{_SHARD_FILES}|hparams_config\.yaml|\.placing\.json|\.conversion/.*|beam/.*)",
    r"cache(?:-\d+)?/(?:photos-[0-9a-f]{12}\.raw|\.photos-[0-9a-f]{12}\.raw\.partial)",
    r"(?:[^/]*/)*\.[^/]*\.partial-(?:\d+|\d+-[0-9a-f]{8}|[0-9a-f]{8})(?:/.*)?",
)
_OWN = re.compile("|".join(_NAMES))
_OWN_FOLDERS = re.compile(
    r"checkpoints|tensorboard|wandb|pictures|report|evaluations|\.export\.previous|export|tfrecords|cache(?:-\d+)?"
)
_FROM_OUR_LOG = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z] ")


def is_run(folder: Path) -> bool:
    """Returns whether a folder is that of a run of this program.

    Runs from before the marker are recognized by an args.yaml with our options and,
    because other trainers also write a file of that name, a second file of ours.
    """
    if isinstance(read_json(folder / MARKER).get("id"), str):
        return True
    options = _first_lines(folder / "args.yaml")
    if not all(re.search(rf"(?m)^{name}:", options) for name in ("mode", "workspace", "run_name", "model_dir")):
        return False
    return _is_metadata(folder / "metadata.json") or _FROM_OUR_LOG.match(_first_lines(folder / "log.txt")) is not None


@contextlib.contextmanager
def held(folder: RunFolder, *, overwrite: bool) -> Iterator[None]:
    """Locks a run's folder for this process and marks it as a run's; with `overwrite` it is emptied first.

    A folder created here is removed if wrong options or data end the command
    before any result is written.

    Raises:
      OptionsError: the folder contains files not written by this program, or another
        process has locked it.
    """
    if overwrite:
        _check_emptiable(folder.path)
    else:
        _check_claimable(folder.path, folder.metadata)
    is_new = not folder.path.exists()
    # Nothing, not even the lock file, is written into a folder that is refused.
    with locked(folder.path), _removed_if_unused(folder.path) if is_new else contextlib.nullcontext():
        if overwrite:
            empty_folder(folder.path)
            _check_claimable(folder.path, folder.metadata)
        _claim(folder.path)
        yield


@contextlib.contextmanager
def _removed_if_unused(folder: Path) -> Iterator[None]:
    """Removes the folder if a user error ends the command while it contains only its own records."""
    try:
        yield
    except Exception as error:
        files = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
        is_unused = all(path.parent == folder and path.name in _RECORDS for path in files)
        if is_unused and exit_code_of(error) in (ExitCode.OPTIONS, ExitCode.DATA, ExitCode.MISSING):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_claimable(folder: Path, metadata: Path) -> None:
    """Checks that a run may start or resume in a folder.

    Args:
      folder: of the run.
      metadata: its metadata.json, which an option may have moved elsewhere.

    Raises:
      OptionsError: it contains files with the names of a run's files that are not ours.
    """
    if metadata.parent != folder and metadata.exists() and not _is_metadata(metadata):
        raise OptionsError(
            f"path_metadata must be a folder without a metadata.json of another program. Received {metadata.parent}, "
            "which contains one; choose another folder.",
            option="path_metadata",
        )
    if not folder.is_dir() or is_run(folder):
        return
    found = sorted(path.name for path in folder.iterdir() if _is_of_run(path) and not _is_free_lock(path))
    if found:
        raise OptionsError(
            f"A run replaces files in its folder, so the folder must be new, empty, or that of the run. Received "
            f"{folder}, which contains {_few(found)} from another program; choose another --run_name or --model_dir."
        )


def _claim(folder: Path) -> None:
    """Marks a folder, which the caller has locked, as a run's, and deletes leftovers of interrupted processes."""
    if not is_run(folder):
        fileio.write_file(folder / MARKER, json.dumps({"id": secrets.token_hex(8)}) + "\n")
    for name in ("tfrecords", "export"):
        remove_stale_lock(folder / name)
    for parent in (folder, *(path for path in folder.iterdir() if _OWN_FOLDERS.fullmatch(path.name) and path.is_dir())):
        fileio.remove_partial_of_dead(parent)


def empty_folder(folder: Path) -> None:
    """Deletes the files of a run in its folder, which the caller has locked.

    Raises:
      OptionsError: see `_check_emptiable`; nothing is deleted then.
    """
    _check_emptiable(folder)
    # The marker is deleted last, so that an interrupted deletion is still recognized as a run's folder.
    for path in sorted(_content(folder), key=lambda path: path.name == MARKER):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_emptiable(folder: Path) -> None:
    """Checks that a run's folder may be emptied.

    Raises:
      OptionsError: it is not a run's folder, or contains other files.
    """
    content = _content(folder)
    if content and not is_run(folder):
        raise OptionsError(
            f"overwrite deletes a run of this program. Received {folder}, which is not that of a run and contains "
            f"{_few(sorted(path.name for path in content))}; choose another --run_name or --model_dir.",
            option="overwrite",
        )
    foreign = sorted(_foreign(folder))
    if foreign:
        raise OptionsError(
            f"overwrite deletes only files of a run. {folder} also contains {_few(foreign)}, which no run writes; move "
            f"{'it' if len(foreign) == 1 else 'them'} elsewhere, or choose another --run_name or --model_dir.",
            option="overwrite",
        )


def _content(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != ".lock"] if folder.is_dir() else []


def _foreign(folder: Path) -> Iterator[str]:
    """Yields the paths in a run's folder that no run writes; links are not followed."""
    for parent, folders, files in os.walk(folder):
        inner = Path(parent).relative_to(folder)
        for name in folders:
            path = inner / name
            is_known = _OWN_FOLDERS.fullmatch(path.parts[0]) or _OWN.fullmatch(f"{path.as_posix()}/x")
            if (len(path.parts) == 1 and not is_known) or (len(path.parts) > 1 and (folder / path).is_symlink()):
                yield f"{path.as_posix()}/"
        folders[:] = [name for name in folders if not (inner == Path() and _is_unknown(name))]
        for name in files:
            if name.lower() not in _SYSTEM_FILES and not _OWN.fullmatch((inner / name).as_posix()):
                yield (inner / name).as_posix()


def _is_metadata(path: Path) -> bool:
    names = read_json(path).keys()
    return {"mode", "date"} <= names or bool({"shaping", "validation_shards"} & names)


def _is_unknown(name: str) -> bool:
    return not (_OWN_FOLDERS.fullmatch(name) or _OWN.fullmatch(f"{name}/x"))


def _is_of_run(path: Path) -> bool:
    return bool(_OWN.fullmatch(path.name) or _OWN_FOLDERS.fullmatch(path.name))


def _is_free_lock(path: Path) -> bool:
    """Returns whether this is the lock file that a process writes first: a number, or still empty."""
    return path.name == ".lock" and re.fullmatch(r"\d*", _first_lines(path)) is not None


def _first_lines(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode(errors="replace")
    except OSError:
        return ""


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
