"""Which files in a folder of results an earlier call wrote; only those are replaced."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.runs.metadata import read_json
from tfrmod import fileio

NOTE = ".efficientdet-files.json"
"""File that lists what this program wrote into a folder, noted before it is written."""

_SHOWN = 5


def check_output_files(folder: Path, names: Iterable[str], *, option: str, known: Collection[str] = ()) -> set[str]:
    """Returns which files of a folder an earlier call wrote.

    Args:
      folder: where results go; need not be there.
      names: of the files that are about to be written.
      option: that names the folder.
      known: files of an earlier call that noted nothing.

    Raises:
      OptionsError: the folder is a file, or another file has one of the names.
    """
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if _is_there(place))
    if not place.is_dir():
        raise OptionsError(
            f"{option} must be a folder, or a name that is free. Received {str(folder)!r}, where a file is; choose "
            "another name.",
            option=option,
        )
    noted = read_json(folder / NOTE).get("files")
    earlier = {*known, *(noted if isinstance(noted, list) else ())}
    foreign = sorted(name for name in set(names) - earlier if _is_there(folder / name))
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise OptionsError(
            f"{option} must be a folder without other files of the results' names. Received {str(folder)!r}, which "
            f"holds {', '.join(foreign[:_SHOWN])}{more}, not written by an earlier call; choose another folder, or "
            "move them away.",
            option=option,
        )
    return earlier


def note_output_files(folder: Path, names: Iterable[str], earlier: Collection[str]) -> None:
    """Makes the folder, and notes the files about to be written, and those of earlier calls that are still there."""
    files = sorted({*names, *(name for name in earlier if _is_there(folder / name))})
    folder.mkdir(parents=True, exist_ok=True)
    fileio.write_file(folder / NOTE, json.dumps({"files": files}, ensure_ascii=False, indent=1) + "\n")


def check_output_json(path: Path, fields: Collection[str], *, option: str) -> None:
    """Makes sure that a JSON file is free, or was written by an earlier call.

    Args:
      path: of the file.
      fields: that tell a file of an earlier call from others.
      option: that names the file.

    Raises:
      OptionsError: another file is there.
    """
    if _is_there(path) and not (path.is_file() and set(fields) <= read_json(path).keys()):
        raise OptionsError(
            f"{option} must name a file that is not there yet, or that an earlier call wrote. Received {str(path)!r}, "
            "where something else is; choose another name, or move it.",
            option=option,
        )


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
