"""Atomic replacement of a group of files: after a crash all of them are old or all are new.

If the folder has no other content, a new folder replaces it, by one rename if the
system can exchange two. If it has other files too, or cannot be renamed (a mount
point, the current folder), the new files are first completed in a folder inside
it; from then on, the next process finishes the replacement, however often it is
killed.
"""

import contextlib
import ctypes
import json
import os
import re
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from tfrmod import fileio
from tfrmod.fileio import waiting_lock

_CURRENT_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux.
_MANY = 100
_LONG = 3600.0  # Seconds; writing never takes so long.


def replace_files(home: Path, write: Callable[[Path], None], *, earlier: Collection[str]) -> None:
    """Replaces the content of a folder with what `write` puts into a given folder; other files are kept.

    Args:
      home: the folder; created if missing.
      write: fills an empty folder on the same disk.
      earlier: names of the earlier files, which are removed.

    Raises:
      OSError: no space or no permission.
      OSError: no space or no permission.
    """
    home = home.resolve()  # A symbolic link is kept: its target is replaced.
    home.parent.mkdir(parents=True, exist_ok=True)
    with waiting_lock(home):
        _finish(home)
        is_whole = _may_be_renamed(home) and (not home.exists() or _names(home) <= set(earlier))
        if not is_whole:
            home.mkdir(exist_ok=True)
        with fileio.staging_folder(home if is_whole else home / home.name) as staging:
            fresh = staging / "new"
            fresh.mkdir()
            write(fresh)
            _sync_files(fresh)
            if not (is_whole and _put_in_place(fresh, home)):
                (staging / "earlier.json").write_text(json.dumps(sorted(earlier)), encoding="utf-8")
                home.mkdir(exist_ok=True)
                staging.rename(_ready(home))
                _move_in(home)
        fileio.sync_folder(home.parent)


def finish_replacement(home: Path) -> None:
    """Completes a replacement of a killed process, if there is one."""
    home = home.resolve()
    if _ready(home).is_dir() or _previous(home).is_dir():
        with waiting_lock(home):
            _finish(home)


def _finish(home: Path) -> None:
    if _previous(home).is_dir():
        with contextlib.suppress(OSError):
            home.rmdir()  # Empty, or missing.
        if home.exists():
            fileio.remove(_previous(home))
        else:
            _previous(home).rename(home)
    if _ready(home).is_dir():
        _move_in(home)
    if home.is_dir():
        for left in home.glob(f".{home.name}-????????"):  # Of an earlier version.
            if left.is_dir() and time.time() - left.stat().st_mtime >= _LONG:
                fileio.remove(left)


def _move_in(home: Path) -> None:
    """Moves the completed files from the folder inside `home` into place; continues after a killed process."""
    ready = _ready(home)
    put_away = ready / "old"
    put_away.mkdir(exist_ok=True)
    new = sorted((ready / "new").iterdir()) if (ready / "new").is_dir() else []
    gone = set(json.loads((ready / "earlier.json").read_text(encoding="utf-8"))) - _names(ready / "new")
    if not (ready / "begun").exists():
        # Later, a name of the earlier files could be that of a new file that has been moved.
        for name in sorted(gone):
            _put_away(home / name, put_away)
        (ready / "begun").touch()
    for item in new:
        _put_away(home / item.name, put_away)
        item.rename(home / item.name)
    fileio.sync_folder(home)
    # By a rename, so that a partial deletion after a kill is not taken for a replacement to finish.
    trash = home / f".{home.name}.partial-{os.getpid()}"
    fileio.remove(trash)
    ready.rename(trash)
    fileio.remove(trash)


def _put_away(path: Path, folder: Path) -> None:
    if path.exists() or path.is_symlink():
        number = sum(1 for _ in folder.iterdir())
        path.rename(folder / f"{number}-{path.name}")


def _put_in_place(fresh: Path, home: Path) -> bool:
    """Replaces a folder by another; returns False if the system cannot, and nothing is changed."""
    if home.exists() and not any(home.iterdir()):
        home.rmdir()
    if not home.exists():
        fresh.rename(home)
        return True
    if _exchanged(fresh, home):
        return True
    try:
        home.rename(_previous(home))
    except OSError:
        return False
    try:
        fresh.rename(home)
    except BaseException:
        _previous(home).rename(home)
        raise
    fileio.remove(_previous(home))
    return True


def _exchanged(first: Path, second: Path) -> bool:
    """Exchanges two folders by one rename; returns False if the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    places = (_CURRENT_FOLDER, os.fsencode(first), _CURRENT_FOLDER, os.fsencode(second))
    return rename(*places, _EXCHANGE) == 0


def _may_be_renamed(home: Path) -> bool:
    return not os.path.ismount(home) and home != Path.cwd() and os.access(home.parent, os.W_OK)


def _names(folder: Path) -> set[str]:
    """Returns the names in a folder, except for those of unfinished replacements."""
    own = re.compile(rf"\.{re.escape(folder.name)}(?:\.ready|\.partial-\d+|-\w{{8}})")
    return {path.name for path in folder.iterdir() if not own.fullmatch(path.name)} if folder.is_dir() else set()


def _sync_files(folder: Path) -> None:
    paths = list(folder.rglob("*"))
    if len(paths) > _MANY and hasattr(os, "sync"):
        os.sync()  # One by one, thousands of files would take minutes.
        return
    for path in paths:
        if path.is_dir():
            fileio.sync_folder(path)
        else:
            with path.open("rb+") as file:
                fileio.sync(file)


def _ready(home: Path) -> Path:
    return home / f".{home.name}.ready"


def _previous(home: Path) -> Path:
    return home.with_name(f".{home.name}.previous")
