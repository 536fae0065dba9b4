"""Zip archives from strangers: looked through first, unpacked whole or not at all, and never outside their folder."""

import errno
import hashlib
import json
import lzma
import os
import posixpath
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfrmod import atomic
from tfrmod.content import described
from tfrmod.errors import DatasetError
from tfrmod.junk import is_junk

MARKER = ".extracted.json"
_LOCAL_HEADER_BYTES = 30
_RATIO_MATTERS_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_MAX_NAME_BYTES = 255
_TEXTS = (".xml", ".txt", ".json", ".csv", ".yaml", ".yml")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What an archive may cost before it is taken for an attack."""

    max_bytes: int = 500 << 30
    """Of all members, unpacked."""
    max_files: int = 5_000_000
    max_ratio: float = 200.0
    """Unpacked bytes per packed byte, of one member or of all; of no matter below 64 MiB. Photos have 1, XML has 10."""


def extract(
    zip_path: Path, destination: Path, *, limits: ArchiveLimits | None = None, on_progress: Progress | None = None
) -> Path:
    """Returns `destination`, holding what the archive holds.

    Everything is unpacked beside it and renamed in one step, with a marker
    inside; a folder that bears the marker of the same archive is returned as
    it is. What operating systems add (__MACOSX, Thumbs.db, …) is left out.

    Args:
      zip_path: a zip file.
      destination: a folder that is not there yet, is empty, or was made by this function.
      limits: see there.
      on_progress: called with bytes done and bytes in all.

    Raises:
      DatasetError: not a zip, damaged, or with a member that is refused, by name.
      OSError: the disk is full or may not be written.
    """
    fingerprint = zip_fingerprint(zip_path)
    if _marked_fingerprint(destination) == fingerprint:
        return destination
    if destination.exists() and not _is_replaceable(destination):
        raise DatasetError(
            f"{destination} is where {zip_path} was to be unpacked, but it holds files that did not come from there. "
            "Move them away, or name another folder."
        )
    with _opened(zip_path) as archive, atomic.staging_folder(destination) as staging:
        members = _checked_members(archive, limits or ArchiveLimits())
        num_bytes = sum(member.file_size for member in members)
        _need_space(staging, num_bytes)
        whole = staging / "whole"
        whole.mkdir()
        _unpack(archive, members, whole, on_progress)
        atomic.write_file(whole / MARKER, json.dumps({"fingerprint": fingerprint, "files": len(members)}) + "\n")
        if destination.exists():
            destination.rename(staging / "replaced")
        whole.rename(destination)
    return destination


def zip_fingerprint(path: Path) -> str:
    """Returns a hash of the names, sizes and checksums that the archive's directory lists.

    Raises:
      DatasetError: missing, or not a zip.
    """
    with _opened(path) as archive:
        rows = sorted((info.filename, info.file_size, info.CRC) for info in archive.infolist())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def folder_fingerprint(folder: Path, *, leave_out: Path | None = None) -> str:
    """Returns a hash of a folder's files: names and sizes, and of texts the content too.

    So a corrected annotation is noticed though its length stays, while
    gigabytes of photos need not be read. Times of change do not count.

    Args:
      folder: looked through in full, but for hidden files.
      leave_out: a folder within it that does not count.
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
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise DatasetError(f"There is no archive {path}.", missing=True) from error
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as error:
        with path.open("rb") as file:
            found = described(file.read(512))
        if found == "a zip archive":
            found = f"a zip archive that is cut off or damaged ({error})"
        raise DatasetError(f"{path} must be a zip archive; it is {found}. Fetch or pack it again.") from error


def _marked_fingerprint(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / MARKER).read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_replaceable(destination: Path) -> bool:
    return _marked_fingerprint(destination) is not None or (destination.is_dir() and not any(destination.iterdir()))


def _checked_members(archive: zipfile.ZipFile, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
    """Returns the members to unpack, after every one of the archive has passed."""
    infos = archive.infolist()
    if len(infos) > limits.max_files:
        raise _refused(archive, f"holds {len(infos):,} members, more than the {limits.max_files:,} allowed")
    for info in infos:
        fault = _name_fault(info) or _kind_fault(info)
        if fault:
            raise _refused(archive, f"holds the member {info.orig_filename!r}, which {fault}")
    _refuse_overlaps(archive, infos)
    _refuse_bombs(archive, infos, limits)
    members = [info for info in infos if not any(map(is_junk, posixpath.normpath(info.filename).split("/")))]
    _refuse_duplicates(archive, members)
    return [info for info in members if not info.is_dir()]


def _name_fault(info: zipfile.ZipInfo) -> str | None:
    name = info.orig_filename
    parts = name.split("/")
    faults = {
        "has no name": not name.strip("/."),
        "has a backslash in its name": "\\" in name,
        "has an absolute path": name.startswith("/") or re.match(r"[A-Za-z]:", name) is not None,
        "reaches out of the folder with '..'": ".." in parts,
        "has a control character in its name": any(unicodedata.category(letter) == "Cc" for letter in name),
        "has a name of more than 255 bytes": any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in parts),
    }
    return next((fault for fault, is_there in faults.items() if is_there), None)


def _kind_fault(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if info.flag_bits & 0x1:
        return "is encrypted"
    return None


def _refuse_overlaps(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> None:
    """Members that share packed bytes are how a small archive unpacks into a large one (Fifield, 2019)."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size for info in ordered]
    starts = [info.header_offset for info in ordered[1:]] + [archive.start_dir]
    for info, end, start in zip(ordered, ends, starts, strict=True):
        if end > start:
            raise _refused(archive, f"holds the member {info.filename!r}, whose data overlap with those of another")


def _refuse_bombs(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    for info in infos:
        if info.file_size > max(_RATIO_MATTERS_BYTES, limits.max_ratio * info.compress_size):
            ratio = info.file_size / max(1, info.compress_size)
            raise _refused(archive, f"holds the member {info.filename!r}, which unpacks to {ratio:,.0f} times its size")
    unpacked = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if unpacked > limits.max_bytes:
        raise _refused(archive, f"unpacks to {unpacked:,} bytes, more than the {limits.max_bytes:,} allowed")
    if unpacked > max(_RATIO_MATTERS_BYTES, limits.max_ratio * packed):
        raise _refused(archive, f"unpacks to {unpacked / max(1, packed):,.0f} times its size")


def _refuse_duplicates(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """One name twice, or as a file and as a folder; however it is spelt."""
    files: set[str] = set()
    folders: set[str] = set()
    for info in members:
        name = posixpath.normpath(unicodedata.normalize("NFC", info.filename))
        if not info.is_dir():
            if name in files:
                raise _refused(archive, f"holds the member {info.filename!r} twice")
            files.add(name)
            name = posixpath.dirname(name)
        while name not in ("", "."):
            folders.add(name)
            name = posixpath.dirname(name)
    if files & folders:
        raise _refused(archive, f"holds the member {min(files & folders)!r} both as a file and as a folder")


def _need_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        message = f"unpacking needs {num_bytes:,} bytes and the disk has {free:,} free"
        raise OSError(errno.ENOSPC, message, str(folder.parent))


def _unpack(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, on_progress: Progress | None
) -> None:
    total, done = sum(info.file_size for info in members), 0
    for info in members:
        path = folder / posixpath.normpath(info.filename)
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
    # A wrong offset is an OSError of the system's; writing, which has OSErrors of its own, happens elsewhere.
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        ValueError,
        OSError,
    ) as error:
        raise _refused(archive, f"holds the damaged member {info.filename!r} ({error})") from error


def _refused(archive: zipfile.ZipFile, what: str) -> DatasetError:
    return DatasetError(f"The archive {archive.filename} {what}; nothing was unpacked. Fetch it or pack it again.")
