"""Which members of a stranger's zip archive may be unpacked, and under which names.

Every member must pass before the first byte is unpacked. What is refused is
what has been used for attacks: names that lead out of the folder, links,
devices, bombs, and two things under one name.
"""

import os
import posixpath
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.file_types import is_junk
from tfrmod.zip_names import decoded_names

_LOCAL_HEADER_BYTES = 30
_RATIO_MATTERS_BYTES = 64 << 20
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 2048
_MAX_DEPTH = 64
_DOS_FOLDER = 0x10
# zipfile lets other decoders unpack all that it has read at once, and 4 KiB of bzip2 may hold 4 GiB.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OTHER_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}
_IS_WINDOWS = os.name == "nt"
# Names of devices there, with any extension; colons begin a drive or a second stream of a file.
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_WINDOWS_SIGNS = re.compile(r'[<>:"|?*]|[. ]$')


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What an archive may cost before it is taken for an attack."""

    max_bytes: int = 500 << 30
    """Of all members, unpacked."""
    max_files: int = 5_000_000
    max_ratio: float = 200.0
    """Unpacked bytes per packed byte, of one member or of all; of no matter below 64 MiB. Photos have 1, XML has 10."""


class Member(NamedTuple):
    """A file or folder in the archive, and where it is to lie below the destination."""

    path: str
    info: zipfile.ZipInfo
    is_folder: bool


def checked_members(archive: zipfile.ZipFile, limits: ArchiveLimits, *, folds_case: bool = False) -> list[Member]:
    """Returns the files to unpack, after every member of the archive has passed.

    Args:
      archive: opened.
      limits: see there.
      folds_case: the disk takes `A.jpg` and `a.jpg` for one file.

    Raises:
      DatasetError: a member is refused, by name.
    """
    infos = archive.infolist()
    if not infos:
        raise refused(archive, "is empty")
    if len(infos) > limits.max_files:
        raise refused(archive, f"holds {len(infos):,} members, more than the {limits.max_files:,} allowed")
    for info in infos:
        fault = _name_fault(info.orig_filename, info.filename) or _kind_fault(info)
        if fault:
            raise refused(archive, f"holds the member {info.orig_filename!r}, which {fault}")
    _refuse_overlaps(archive, infos)
    _refuse_bombs(archive, infos, limits)
    names = decoded_names(archive, infos)
    for name in names:
        fault = "mixes slashes and backslashes in its name" if "\\" in name else _name_fault(name)
        if fault:
            raise refused(archive, f"holds the member {name!r}, which {fault}")
    members = [
        Member(posixpath.normpath(name), info, _is_folder(name, info)) for name, info in zip(names, infos, strict=True)
    ]
    members = [member for member in members if not any(map(is_junk, member.path.split("/")))]
    _refuse_duplicates(archive, members, folds_case=folds_case)
    return [member for member in members if not member.is_folder]


def _is_folder(name: str, info: zipfile.ZipInfo) -> bool:
    return name.endswith("/") or (bool(info.external_attr & _DOS_FOLDER) and info.file_size == 0)


def refused(archive: zipfile.ZipFile, what: str, kind: type[DatasetError] = DatasetError) -> DatasetError:
    """Returns the error that ends the unpacking."""
    return kind(f"The archive {archive.filename} {what}; nothing was unpacked. Fetch it or pack it again.")


def _name_fault(*names: str) -> str | None:
    """Returns what is wrong with a name, of which an archive may state several; backslashes separate too."""
    names = tuple(name.replace("\\", "/") for name in names)
    return next((fault for fault, is_faulty in _NAME_FAULTS.items() if any(map(is_faulty, names))), None)


def _parts_fault(is_faulty: Callable[[str], object]) -> Callable[[str], bool]:
    return lambda name: any(is_faulty(part) for part in name.split("/"))


def _is_unwritable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeError:
        return True
    return False


_NAME_FAULTS: dict[str, Callable[[str], bool]] = {
    "has no name": lambda name: not name.strip("/."),
    "has an absolute path": lambda name: name.startswith("/") or re.match(r"[A-Za-z]:", name) is not None,
    "reaches out of the folder with '..'": lambda name: ".." in name.split("/"),
    "has a control character in its name": lambda name: any(unicodedata.category(sign) == "Cc" for sign in name),
    "has a name that this system cannot write": _is_unwritable,
    "has a name of more than 255 bytes": _parts_fault(lambda part: len(os.fsencode(part)) > _MAX_NAME_BYTES),
    f"has a path of more than {_MAX_PATH_BYTES} bytes": lambda name: len(os.fsencode(name)) > _MAX_PATH_BYTES,
    f"lies more than {_MAX_DEPTH} folders deep": lambda name: name.count("/") > _MAX_DEPTH,
    "bears the name of a Windows device": lambda name: _IS_WINDOWS and _parts_fault(_WINDOWS_DEVICE.fullmatch)(name),
    "has a name that Windows cannot write": lambda name: _IS_WINDOWS and _parts_fault(_WINDOWS_SIGNS.search)(name),
}


def _kind_fault(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in _METHODS:
        return f"is packed by {_OTHER_METHODS.get(info.compress_type, 'an unknown method')} and not by Deflate"
    return None


def _refuse_overlaps(archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Members that share packed bytes are how a small archive unpacks into a large one (Fifield, 2019)."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size for info in ordered]
    starts = [info.header_offset for info in ordered[1:]] + [archive.start_dir]
    for info, end, start in zip(ordered, ends, starts, strict=True):
        if end > start:
            raise refused(archive, f"holds the member {info.filename!r}, whose data overlap with those of another")


def _refuse_bombs(archive: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    unpacked = packed = 0
    for info in infos:
        if info.file_size > max(_RATIO_MATTERS_BYTES, limits.max_ratio * info.compress_size):
            ratio = info.file_size / max(1, info.compress_size)
            raise refused(archive, f"holds the member {info.filename!r}, which unpacks to {ratio:,.0f} times its size")
        unpacked += info.file_size
        packed += info.compress_size
    if unpacked > limits.max_bytes:
        raise refused(archive, f"unpacks to {unpacked:,} bytes, more than the {limits.max_bytes:,} allowed")
    if unpacked > max(_RATIO_MATTERS_BYTES, limits.max_ratio * packed):
        raise refused(archive, f"unpacks to {unpacked / max(1, packed):,.0f} times its size")


def _refuse_duplicates(archive: zipfile.ZipFile, members: Iterable[Member], *, folds_case: bool) -> None:
    """One name twice, or as a file and as a folder; however it is spelt."""
    files: dict[str, str] = {}
    folders: set[str] = set()
    for path, info, is_folder in members:
        name = unicodedata.normalize("NFC", path)
        name = name.casefold() if folds_case else name
        if not is_folder:
            if name in files:
                other = "" if files[name] == path else f" (once as {files[name]!r}: this disk takes both for one)"
                raise refused(archive, f"holds the member {info.filename!r} twice{other}")
            files[name] = path
            name = posixpath.dirname(name)
        while name not in ("", ".") and name not in folders:
            folders.add(name)
            name = posixpath.dirname(name)
    both = sorted(folders.intersection(files))
    if both:
        raise refused(archive, f"holds the member {files[both[0]]!r} both as a file and as a folder")
