"""Untrusted zip archives: validated, then extracted atomically and marked with a fingerprint."""

import hashlib
import json
import os
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tfrmod import fileio
from tfrmod.errors import DatasetError
from tfrmod.file_types import described, is_junk
from tfrmod.fileio import remove_stale_lock, waiting_lock
from tfrmod.zip_members import ArchiveLimits, Member, checked_members, member_error

__all__ = ["MARKER", "DamagedArchiveError", "extract", "folder_fingerprint", "zip_fingerprint"]

_CHUNK_BYTES = 1 << 20
_TEXTS = (".xml", ".txt", ".json", ".csv", ".yaml", ".yml")

# A wrong offset raises OSError as the system does; errors of writing are handled elsewhere.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, OSError, ValueError, OverflowError, MemoryError, RuntimeError),  # Includes NotImplementedError.
)

Progress = Callable[[int, int], None]


class DamagedArchiveError(DatasetError):
    """An archive that is truncated or inconsistent; another copy may be intact."""


def extract(
    zip_path: Path, destination: Path, *, limits: ArchiveLimits | None = None, on_progress: Progress | None = None
) -> Path:
    """Returns `destination`, with the content of the archive.

    The archive is unpacked into a folder next to it, which is then renamed, with
    a marker inside. A folder with the marker of the same archive is returned
    unchanged. Files of operating systems (__MACOSX, Thumbs.db, …) are ignored.

    Args:
      zip_path: a zip file.
      destination: a folder that does not exist, is empty, or was created by this function and not edited since.
      limits: of sizes and numbers.
      on_progress: called with processed and total bytes.

    Raises:
      DatasetError: it is not a zip archive, is damaged, or has an invalid member, which the message names.
      OSError: the disk is full or not writable.
    """
    fingerprint = zip_fingerprint(zip_path)
    if marked_fingerprint(destination) == fingerprint:
        remove_stale_lock(destination)
        return destination
    with waiting_lock(destination), _opened(zip_path) as archive, fileio.staging_folder(destination) as staging:
        if marked_fingerprint(destination) == fingerprint:
            return destination  # Another run has unpacked it in the meantime.
        _check_replaceable(destination, zip_path)
        members = checked_members(archive, limits or ArchiveLimits(), folds_case=_folds_case(staging))
        fileio.check_space(staging.parent, sum(member.info.file_size for member in members), "unpacking")
        whole = staging / "whole"
        whole.mkdir()
        _unpack(archive, members, whole, on_progress)
        _sync_all()
        write_marker(whole, fingerprint)
        if destination.exists():
            destination.rename(staging / "replaced")
        whole.rename(destination)
    return destination


def zip_fingerprint(path: Path) -> str:
    """Returns a hash of the names, sizes and checksums in the archive's directory.

    Raises:
      DatasetError: the file does not exist, or is not a zip archive.
    """
    with _opened(path) as archive:
        rows = sorted((info.filename, info.file_size, info.CRC) for info in archive.infolist())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def folder_fingerprint(folder: Path, *, leave_out: Path | None = None) -> str:
    """Returns a hash of the files in a folder: names and sizes, and for text files also the content.

    So a corrected annotation of the same length is noticed, while gigabytes of
    images need not be read. Modification times are ignored.

    Args:
      folder: read recursively, except for hidden files.
      leave_out: a folder inside it that is ignored.
    """
    digest = hashlib.sha256()
    for path in _files(folder, leave_out):
        name = path.relative_to(folder).as_posix()
        digest.update(json.dumps([name, path.stat().st_size]).encode())
        if name.lower().endswith(_TEXTS):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    excluded = leave_out.resolve() if leave_out else None
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_junk(name) and Path(parent, name).resolve() != excluded)
        yield from (Path(parent, name) for name in sorted(names) if not is_junk(name) and Path(parent, name).is_file())


def _opened(path: Path) -> zipfile.ZipFile:
    if path.exists() and not path.is_file():  # Reading a device or a pipe may never end.
        raise DatasetError(f"{path} must be a zip archive; it is not a file.")
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise DatasetError(f"The archive {path} does not exist.", missing=True) from error
    except (zipfile.BadZipFile, struct.error, ValueError, OverflowError, MemoryError, NotImplementedError) as error:
        with path.open("rb") as file:
            found = described(file.read(512))
        is_damaged = found == "a zip archive"
        found = f"a zip archive that is cut off or damaged ({error})" if is_damaged else found
        kind = DamagedArchiveError if is_damaged else DatasetError
        raise kind(f"{path} must be a zip archive; it is {found}. Fetch or pack it again.") from error


def _check_replaceable(destination: Path, zip_path: Path) -> None:
    """Checks that only an unedited extraction is replaced.

    Raises:
      DatasetError: the destination has other files, or was edited since.
    """
    if marked_fingerprint(destination) is not None:
        check_unedited(
            destination,
            f"Unpacking {zip_path}, which is another archive, would replace that. Name another folder for it, or use "
            "this folder by itself as the dataset.",
        )
    elif destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise DatasetError(
            f"{destination} is where {zip_path} was to be unpacked, but it holds files that did not come from "
            "there. Move them away, or name another folder."
        )


def _folds_case(folder: Path) -> bool:
    """Returns whether the file system is case-insensitive."""
    (folder / "case").touch()
    return (folder / "CASE").exists()


def _sync_all() -> None:
    """Waits until all files are on disk; one by one, thousands of them would take minutes."""
    if hasattr(os, "sync"):  # Not on Windows.
        os.sync()


def _unpack(archive: zipfile.ZipFile, members: list[Member], folder: Path, on_progress: Progress | None) -> None:
    total, done = sum(member.info.file_size for member in members), 0
    for name, info, _ in members:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for chunk in _chunks(archive, info):
                file.write(chunk)
                done += len(chunk)
        if on_progress:
            on_progress(done, total)


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as packed:
            while chunk := packed.read(_CHUNK_BYTES):
                yield chunk
    except _DAMAGE as error:
        what = f"holds the damaged member {info.filename!r} ({error})"
        raise member_error(archive, what, DamagedArchiveError) from error


MARKER = ".extracted.json"
_SYSTEM_FILES = {".ds_store", "thumbs.db", "desktop.ini"}
_SHOWN = 3


def write_marker(folder: Path, fingerprint: str) -> None:
    """Records in a folder the archive it was unpacked from, and the size and time of each file."""
    # A whole even second in the past, which every file system can store and no later edit can have.
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
    """Returns the files changed, added or removed since a folder was unpacked; None if its files were not recorded."""
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


def check_unedited(folder: Path, advice: str) -> None:
    """Checks that a folder is unchanged since it was unpacked.

    Args:
      folder: with a marker.
      advice: end of the message, a sentence with the remedy.

    Raises:
      DatasetError: it was edited, or unpacked by a version that did not record its files.
    """
    edited = edited_files(folder)
    if edited is None:
        raise DatasetError(
            f"{folder} was unpacked from an archive by an earlier version, which did not list its files: whether they "
            f"were edited since cannot be determined. {advice}"
        )
    if edited:
        more = f" and {len(edited) - _SHOWN} more" if len(edited) > _SHOWN else ""
        raise DatasetError(
            f"{folder} was unpacked from an archive and edited since: {', '.join(edited[:_SHOWN])}{more}. {advice}"
        )


def _names(folder: Path) -> Iterator[str]:
    """Yields the paths of all files in a folder, except for those of operating systems; links count as files."""
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
