"""Members of an untrusted zip archive: checks of names, sizes and types, and the encoding of names."""

import binascii
import json
import logging
import os
import posixpath
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.file_types import is_junk

_LOCAL_HEADER_BYTES = 30
_RATIO_MATTERS_BYTES = 64 << 20
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 2048
_MAX_DEPTH = 64
_DOS_FOLDER = 0x10
# zipfile decompresses everything that it has read at once with other methods, and 4 KiB of bzip2 may become 4 GiB.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OTHER_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}
_IS_WINDOWS = os.name == "nt"
# Windows device names, with any extension; colons separate a drive or an alternate stream.
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_WINDOWS_SIGNS = re.compile(r'[<>:"|?*]|[. ]$')


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """Limits of the size of an archive, against zip bombs."""

    max_bytes: int = 500 << 30
    """Total of all members, unpacked."""
    max_files: int = 5_000_000
    max_ratio: float = 200.0
    """Unpacked bytes per packed byte, of one member or of all; ignored below 64 MiB. Images have 1, XML has 10."""


class Member(NamedTuple):
    """A file or folder in the archive, and its path below the destination."""

    path: str
    info: zipfile.ZipInfo
    is_folder: bool


def checked_members(archive: zipfile.ZipFile, limits: ArchiveLimits, *, folds_case: bool = False) -> list[Member]:
    """Returns the files to unpack, after all members of the archive have been checked.

    Args:
      archive: open.
      limits: of sizes and numbers.
      folds_case: whether the file system is case-insensitive.

    Raises:
      DatasetError: a member is invalid; the message names it.
    """
    infos = archive.infolist()
    if not infos:
        raise member_error(archive, "is empty")
    if len(infos) > limits.max_files:
        raise member_error(archive, f"holds {len(infos):,} members, more than the {limits.max_files:,} allowed")
    for info in infos:
        fault = _name_fault(info.orig_filename, info.filename) or _kind_fault(info)
        if fault:
            raise member_error(archive, f"holds the member {info.orig_filename!r}, which {fault}")
    _check_overlaps(archive, infos)
    _check_ratios(archive, infos, limits)
    names = decoded_names(archive, infos)
    for name in names:
        fault = "mixes slashes and backslashes in its name" if "\\" in name else _name_fault(name)
        if fault:
            raise member_error(archive, f"holds the member {name!r}, which {fault}")
    members = [
        Member(posixpath.normpath(name), info, _is_folder(name, info)) for name, info in zip(names, infos, strict=True)
    ]
    members = [member for member in members if not any(map(is_junk, member.path.split("/")))]
    _check_duplicates(archive, members, folds_case=folds_case)
    return [member for member in members if not member.is_folder]


def _is_folder(name: str, info: zipfile.ZipInfo) -> bool:
    return name.endswith("/") or (bool(info.external_attr & _DOS_FOLDER) and info.file_size == 0)


def member_error(archive: zipfile.ZipFile, what: str, kind: type[DatasetError] = DatasetError) -> DatasetError:
    """Returns the error for an archive that is not unpacked."""
    return kind(f"The archive {archive.filename} {what}; nothing was unpacked. Fetch it or pack it again.")


def _name_fault(*names: str) -> str | None:
    """Returns the fault of a name, which an archive may state several times; backslashes are separators too."""
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
    f"is more than {_MAX_DEPTH} folders deep": lambda name: name.count("/") > _MAX_DEPTH,
    "has the name of a Windows device": lambda name: _IS_WINDOWS and _parts_fault(_WINDOWS_DEVICE.fullmatch)(name),
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


def _check_overlaps(archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Rejects members that share packed bytes, by which a small archive can unpack into a large one (Fifield, 2019)."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size for info in ordered]
    starts = [info.header_offset for info in ordered[1:]] + [archive.start_dir]
    for info, end, start in zip(ordered, ends, starts, strict=True):
        if end > start:
            raise member_error(archive, f"holds the member {info.filename!r}, whose data overlap with those of another")


def _check_ratios(archive: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    unpacked = packed = 0
    for info in infos:
        if info.file_size > max(_RATIO_MATTERS_BYTES, limits.max_ratio * info.compress_size):
            ratio = info.file_size / max(1, info.compress_size)
            raise member_error(
                archive, f"holds the member {info.filename!r}, which unpacks to {ratio:,.0f} times its size"
            )
        unpacked += info.file_size
        packed += info.compress_size
    if unpacked > limits.max_bytes:
        raise member_error(archive, f"unpacks to {unpacked:,} bytes, more than the {limits.max_bytes:,} allowed")
    if unpacked > max(_RATIO_MATTERS_BYTES, limits.max_ratio * packed):
        raise member_error(archive, f"unpacks to {unpacked / max(1, packed):,.0f} times its size")


def _check_duplicates(archive: zipfile.ZipFile, members: Iterable[Member], *, folds_case: bool) -> None:
    """Rejects names that occur twice, or as a file and as a folder, in any notation."""
    files: dict[str, str] = {}
    folders: set[str] = set()
    for path, info, is_folder in members:
        name = unicodedata.normalize("NFC", path)
        name = name.casefold() if folds_case else name
        if not is_folder:
            if name in files:
                other = "" if files[name] == path else f" (once as {files[name]!r}, the same name on this disk)"
                raise member_error(archive, f"holds the member {info.filename!r} twice{other}")
            files[name] = path
            name = posixpath.dirname(name)
        while name not in ("", ".") and name not in folders:
            folders.add(name)
            name = posixpath.dirname(name)
    both = sorted(folders.intersection(files))
    if both:
        raise member_error(archive, f"holds the member {files[both[0]]!r} both as a file and as a folder")


_NAME_IS_UTF8 = 0x800
_UNICODE_PATH = 0x7075
_STANDARD = "cp437"
# UTF-8 first, because other text is rarely valid UTF-8. Then code pages that decode all bytes to letters, in order.
_CODE_PAGES = (_STANDARD, "cp850", "cp1252", "gb18030", "cp932", "cp949", "big5", "cp1251", "cp866", "cp1250", "cp852")
_ANNOTATIONS = (".json", ".xml", ".csv", ".txt")
_MAX_EVIDENCE_BYTES = 32 << 20
_MAX_EVIDENCE_NAMES = 50


def decoded_names(archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Returns the name of each member, with slashes as separators; logs a guessed code page.

    Args:
      archive: open.
      infos: its members, after the other checks.

    Raises:
      DatasetError: no code page matches.
    """
    names = [_stated_name(info) for info in infos]
    unstated = [_raw(info) for info, name in zip(infos, names, strict=True) if name is None]
    # All names have one encoding: a few bytes of another code page may be valid UTF-8 by chance.
    encoding = _encoding(archive, infos, unstated) if unstated else ""
    found = (_raw(info).decode(encoding) if name is None else name for info, name in zip(infos, names, strict=True))
    # PowerShell 5 writes backslashes. The second byte of a character may be one too, so this comes last.
    return [name if "/" in name else name.replace("\\", "/") for name in found]


def _raw(info: zipfile.ZipInfo) -> bytes:
    """Returns the bytes of a name without the UTF-8 flag, which zipfile has decoded with code page 437."""
    return info.orig_filename.encode(_STANDARD)


def _stated_name(info: zipfile.ZipInfo) -> str | None:
    """Returns the name if its encoding is stated, or it is ASCII."""
    if info.flag_bits & _NAME_IS_UTF8 or info.orig_filename.isascii():
        return info.filename
    try:
        return _unicode_path(info.extra, _raw(info))
    except UnicodeDecodeError:
        return None


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """Returns the name in Info-ZIP's field, if it belongs to this name: another program may have renamed the member."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(data) == length > 5:
            version, checksum = struct.unpack("<BL", data[:5])
            if version == 1 and checksum == binascii.crc32(raw):
                return data[5:].decode("utf-8")
    return None


def _encoding(archive: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo], raw_names: Sequence[bytes]) -> str:
    """Returns the encoding of names without a stated encoding."""
    fitting = {page: names for page in ("utf-8", *_CODE_PAGES) if (names := _decoded(raw_names, page)) is not None}
    if not fitting:
        raise DatasetError(
            f"The archive {archive.filename} holds names in an unknown code page, such as {raw_names[0]!r}; nothing "
            "was unpacked. Pack it again with names in UTF-8."
        )
    counts = _mentions(archive, infos, fitting)
    mentioned = max(counts, key=lambda page: counts[page])
    best = mentioned if counts[mentioned] else max(fitting, key=lambda page: _are_letters(fitting[page]))
    if "utf-8" in fitting and not counts[mentioned] > counts["utf-8"]:
        return "utf-8"
    why = (
        f"{counts[best]} of the first {min(len(raw_names), _MAX_EVIDENCE_NAMES)} occur like this in its annotations"
        if counts[best]
        else "this is a guess: if files are not found by their names, pack it again with names in UTF-8"
    )
    logging.warning(
        "%s holds %d names that are not in UTF-8, read in the code page %s (for example %r); %s.",
        archive.filename,
        len(raw_names),
        best,
        fitting[best][0],
        why,
    )
    return best


def _decoded(raw_names: Iterable[bytes], page: str) -> list[str] | None:
    try:
        return [name.decode(page) for name in raw_names]
    except UnicodeDecodeError:
        return None


def _are_letters(names: Iterable[str]) -> bool:
    """Returns whether all non-ASCII characters are letters (and their marks) of words, not symbols or lines."""
    return all(letter.isascii() or unicodedata.category(letter)[0] in "LM" for name in names for letter in name)


def _mentions(
    archive: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo], candidates: dict[str, list[str]]
) -> dict[str, int]:
    """Returns how many names, decoded with each code page, occur in the archive's annotations."""
    texts = _annotations(archive, infos)
    counts = {}
    for page, names in candidates.items():
        stems = [posixpath.splitext(posixpath.basename(name.replace("\\", "/")))[0] for name in names]
        stems = [stem for stem in stems[:_MAX_EVIDENCE_NAMES] if not stem.isascii()]
        counts[page] = sum(any(form in texts for form in _forms(stem)) for stem in stems)
    return counts


def _forms(stem: str) -> set[bytes]:
    composed = {unicodedata.normalize(form, stem) for form in ("NFC", "NFD")}
    escaped = {json.dumps(name)[1:-1] for name in composed}
    return {name.encode("utf-8", "replace") for name in composed | escaped | {name.lower() for name in escaped}}


def _annotations(archive: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo]) -> bytes:
    pieces, left = [], _MAX_EVIDENCE_BYTES
    for info in infos:
        if left <= 0 or not info.filename.lower().endswith(_ANNOTATIONS):
            continue
        try:
            with archive.open(info) as file:
                piece = file.read(left)
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError, zlib.error, struct.error):
            continue  # Unpacking reports it.
        pieces.append(piece)
        left -= len(piece)
    return b"\n".join(pieces)
