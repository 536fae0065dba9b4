"""Output files of earlier calls in a folder of results; only those are replaced."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.runs.metadata import read_json
from tfrmod import fileio

NOTE = ".efficientdet-files.json"
"""File that lists the output files in a folder; updated before they are written."""

_SHOWN = 5


def check_output_files(folder: Path, names: Iterable[str], *, option: str, known: Collection[str] = ()) -> set[str]:
    """Returns the files in a folder that an earlier call wrote.

    Args:
      folder: output folder; need not exist.
      names: of the files to write.
      option: option that names the folder.
      known: files of an earlier call that recorded none.

    Raises:
      OptionsError: the folder is a file, or an unrelated file has one of the names.
    """
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if _is_there(place))
    if not place.is_dir():
        raise OptionsError(
            f"{option} must be a folder, or not exist. Received {str(folder)!r}, which is a file; choose another name.",
            option=option,
        )
    noted = read_json(folder / NOTE).get("files")
    earlier = {*known, *(noted if isinstance(noted, list) else ())}
    refuse_foreign(folder, names, earlier, option=option)
    return earlier


def refuse_foreign(folder: Path, names: Iterable[str], earlier: Collection[str], *, option: str) -> None:
    """Raises OptionsError if a file that is not in `earlier` has one of the names."""
    foreign = sorted(name for name in set(names).difference(earlier) if _is_there(folder / name))
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise OptionsError(
            f"{option} must be a folder without unrelated files that have the names of results. Received "
            f"{str(folder)!r}, which "
            f"contains {', '.join(foreign[:_SHOWN])}{more}, not written by an earlier call; choose another folder, or "
            "move them away.",
            option=option,
        )


def note_output_files(folder: Path, names: Iterable[str], earlier: Collection[str]) -> None:
    """Creates the folder, and records the files to write and those of earlier calls that still exist."""
    files = sorted({*names, *(name for name in earlier if _is_there(folder / name))})
    folder.mkdir(parents=True, exist_ok=True)
    fileio.write_file(folder / NOTE, json.dumps({"files": files}, ensure_ascii=False, indent=1) + "\n")


def check_output_json(path: Path, fields: Collection[str], *, option: str) -> None:
    """Checks that a JSON file does not exist, or was written by an earlier call.

    Args:
      path: of the file.
      fields: keys that identify a file of an earlier call.
      option: option that names the file.

    Raises:
      OptionsError: the file is unrelated.
    """
    if _is_there(path) and not (path.is_file() and set(fields) <= read_json(path).keys()):
        raise OptionsError(
            f"{option} must name a file that does not exist, or that an earlier call wrote. Received {str(path)!r}, "
            "which is unrelated; choose another name, or move it.",
            option=option,
        )


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
