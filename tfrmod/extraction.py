"""What was unpacked into a folder, and whether it is still that: nobody's corrections are ever replaced."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tfrmod import fileio
from tfrmod.errors import DatasetError

MARKER = ".extracted.json"
_SYSTEM_FILES = {".ds_store", "thumbs.db", "desktop.ini"}
_SHOWN = 3


def write_marker(folder: Path, fingerprint: str) -> None:
    """Notes which archive a folder was unpacked from, and the size and time of each of its files."""
    # A whole even second in the past, which every file system can hold and no later edit can have.
    stamp = int(time.time()) // 2 * 2 - 2
    names = sorted(_names(folder))
    for name in names:
        os.utime(folder / name, (stamp, stamp))
    sizes = {name: (folder / name).stat().st_size for name in names}
    content = {"fingerprint": fingerprint, "files": len(names), "time": stamp, "sizes": sizes}
    fileio.write_file(folder / MARKER, json.dumps(content) + "\n")


def marked_fingerprint(folder: Path) -> str | None:
    """Returns the fingerprint of the archive that a folder was unpacked from, or None."""
    fingerprint = _marker(folder).get("fingerprint")
    return None if fingerprint is None else str(fingerprint)


def edited_files(folder: Path) -> list[str] | None:
    """Returns what was changed, added or removed since a folder was unpacked; None where that was not noted."""
    marker = _marker(folder)
    sizes, stamp = marker.get("sizes"), marker.get("time")
    if not isinstance(sizes, dict) or not isinstance(stamp, int):
        return None
    edited, found = [], set()
    for name in _names(folder):
        found.add(name)
        status = (folder / name).lstat()
        if sizes.get(name) != status.st_size or int(status.st_mtime) != stamp:
            edited.append(name)
    return sorted(edited + [name for name in sizes if name not in found])


def refuse_edited(folder: Path, advice: str) -> None:
    """Makes sure that a folder holds what was unpacked there, unchanged.

    Args:
      folder: bears the marker.
      advice: the end of the message, a sentence on what to do.

    Raises:
      DatasetError: it does not, or was unpacked by a version that did not note its files.
    """
    edited = edited_files(folder)
    if edited is None:
        raise DatasetError(
            f"{folder} was unpacked from an archive by an earlier version, which did not note its files: whether they "
            f"were edited since cannot be told. {advice}"
        )
    if edited:
        more = f" and {len(edited) - _SHOWN} more" if len(edited) > _SHOWN else ""
        raise DatasetError(
            f"{folder} was unpacked from an archive and edited since: {', '.join(edited[:_SHOWN])}{more}. {advice}"
        )


def _names(folder: Path) -> Iterator[str]:
    """Yields the paths of all files in a folder, but for what operating systems add; links count as files."""
    for parent, folders, files in os.walk(folder):
        for name in [*files, *(name for name in folders if Path(parent, name).is_symlink())]:
            if name != MARKER and name.lower() not in _SYSTEM_FILES and not name.startswith("._"):
                yield Path(parent, name).relative_to(folder).as_posix()


def _marker(folder: Path) -> dict[str, object]:
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
