"""The names of a zip archive's members, as their writer meant them.

A name is UTF-8 if its flag says so. Without the flag an extra field of Info-ZIP
may hold it in UTF-8; bytes that are valid UTF-8 are taken for that. What is
left is in the code page of the computer that wrote the archive, which the
archive does not name. Names that the archive's annotations write out decide
it where they can; otherwise it is guessed, and said.
"""

import binascii
import json
import logging
import posixpath
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Sequence

from tfrmod.errors import DatasetError

_NAME_IS_UTF8 = 0x800
_UNICODE_PATH = 0x7075
_STANDARD = "cp437"
# UTF-8 first: hardly anything else is valid UTF-8. Of code pages, those that make letters of all bytes, in this order.
_CODE_PAGES = (_STANDARD, "cp850", "cp1252", "gb18030", "cp932", "cp949", "big5", "cp1251", "cp866", "cp1250", "cp852")
_ANNOTATIONS = (".json", ".xml", ".csv", ".txt")
_MAX_EVIDENCE_BYTES = 32 << 20
_MAX_EVIDENCE_NAMES = 50


def decoded_names(archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Returns the name of each member, with slashes as separators; logs a code page that was guessed.

    Args:
      archive: opened.
      infos: its members, already found to be harmless to read.

    Raises:
      DatasetError: no code page fits.
    """
    names = [_stated_name(info) for info in infos]
    unstated = [_raw(info) for info, name in zip(infos, names, strict=True) if name is None]
    # One writer, one encoding: a few bytes of another code page may be valid UTF-8 by chance.
    encoding = _encoding(archive, infos, unstated) if unstated else ""
    found = (_raw(info).decode(encoding) if name is None else name for info, name in zip(infos, names, strict=True))
    # PowerShell 5 writes backslashes. A code page's second byte may be one too, so this comes last.
    return [name if "/" in name else name.replace("\\", "/") for name in found]


def _raw(info: zipfile.ZipInfo) -> bytes:
    """Returns the bytes of a name without the flag of UTF-8; zipfile has decoded them by code page 437."""
    return info.orig_filename.encode(_STANDARD)


def _stated_name(info: zipfile.ZipInfo) -> str | None:
    """Returns the name where its encoding is stated, or it is ASCII."""
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
    """Returns the encoding of names that say nothing of it."""
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
        f"{counts[best]} of the first {min(len(raw_names), _MAX_EVIDENCE_NAMES)} stand so in its annotations"
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
    """Returns whether all that is not ASCII is letters (and their marks) of words, not signs or drawn lines."""
    return all(letter.isascii() or unicodedata.category(letter)[0] in "LM" for name in names for letter in name)


def _mentions(
    archive: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo], candidates: dict[str, list[str]]
) -> dict[str, int]:
    """Returns how many names, read by each code page, stand in the archive's annotations."""
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
            continue  # Unpacking will say so.
        pieces.append(piece)
        left -= len(piece)
    return b"\n".join(pieces)
