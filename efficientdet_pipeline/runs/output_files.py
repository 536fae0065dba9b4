"""Output files of earlier calls in a folder of results; only those are replaced."""

import json
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.runs.metadata import read_json
from tfrmod import fileio

NOTE = ".efficientdet-files.json"
"""File that lists the output files in a folder; updated before they are written."""

_JOURNAL = ".efficientdet-files.jsonl"
"""File with the names that `GrowingOutput` adds to that list, one JSON string per line."""

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
    earlier = {*known, *(noted if isinstance(noted, list) else ()), *_journal(folder)}
    _refuse_foreign(folder, names, earlier, option=option)
    return earlier


def check_output_file(path: Path, *, option: str) -> set[str]:
    """Checks that a file does not exist, or was written by an earlier call; returns such files of its folder.

    Raises:
      OptionsError: the file is unrelated.
    """
    earlier = check_output_files(path.parent, (), option=option)
    if path.name not in earlier and _is_there(path):
        raise OptionsError(
            f"{option} must name a file that does not exist, or that an earlier call wrote. {path} exists, and no call "
            "wrote it; choose another name, or move it away.",
            option=option,
        )
    return earlier


def _refuse_foreign(folder: Path, names: Iterable[str], earlier: Collection[str], *, option: str) -> None:
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


def _journal(folder: Path) -> list[str]:
    """Returns the names in the journal of an interrupted call; its last line may be incomplete."""
    try:
        lines = (folder / _JOURNAL).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    names = []
    for line in lines:
        with suppress(ValueError):
            names.append(str(json.loads(line)))
    return names


class GrowingOutput:
    """Output files of a folder whose names are known only when they are written.

    Args:
      folder: created with the first file.
      option: option that names the folder, for messages.
    """

    def __init__(self, folder: Path, *, option: str) -> None:
        self._folder, self._option = folder, option
        self._earlier: set[str] | None = None
        self._made: set[str] = set()

    def add(self, names: Sequence[str]) -> None:
        """Records files before they are written, so that a later call may replace them even after an interruption.

        Raises:
          OptionsError: an unrelated file has one of the names.
        """
        if self._earlier is None:
            self._earlier = check_output_files(self._folder, names, option=self._option)
            note_output_files(self._folder, (), self._earlier)
        else:
            _refuse_foreign(self._folder, names, self._earlier | self._made, option=self._option)
        with (self._folder / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.writelines(f"{json.dumps(name)}\n" for name in names)
        self._made |= set(names)

    def close(self) -> None:
        """Deletes files of an earlier call that were not written again, and completes the list."""
        for name in (self._earlier or set()) - self._made:
            (self._folder / name).unlink(missing_ok=True)
        note_output_files(self._folder, self._made, ())
        (self._folder / _JOURNAL).unlink(missing_ok=True)


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
