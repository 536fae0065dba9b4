"""TFRecord reader and writer: atomic writing, and reading with checksums.

A record is its length (8 bytes, little-endian), the masked CRC-32C of those
bytes, the data, and the masked CRC-32C of the data.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from tfrmod import fileio
from tfrmod.errors import DatasetError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size


@dataclass(frozen=True)
class ShardInfo:
    """A finished TFRecord file."""

    name: str
    num_images: int
    num_bytes: int
    sha256: str


def shard_name(split: str, index: int, count: int) -> str:
    """Returns the file name of a shard, for example train-00000-of-00004.tfrecord."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def masked_crc(data: bytes) -> int:
    """Returns the CRC-32C of `data`, rotated and shifted as in TFRecord files."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def write_records(path: Path, records: Iterable[bytes]) -> ShardInfo:
    """Writes one TFRecord file, atomically and synced to disk.

    Raises:
      OSError: no space or no permission, or a file system that does not keep
        what is written; no file remains.
    """
    # A unique temporary name, since two machines may write one shard.
    partial = fileio.partial_path(path)
    digest = hashlib.sha256()
    num_images = num_bytes = 0
    try:
        with partial.open("wb") as file:
            for record in records:
                length = _LENGTH.pack(len(record))
                for piece in (length + _CRC.pack(masked_crc(length)), record, _CRC.pack(masked_crc(record))):
                    file.write(piece)
                    digest.update(piece)
                num_images += 1
                num_bytes += _HEADER_BYTES + len(record) + _CRC.size
            fileio.sync(file)
        fileio.check_kept(partial, num_bytes)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return ShardInfo(path.name, num_images, num_bytes, digest.hexdigest())


class Scanned(NamedTuple):
    """One record of a file, or the fault at its position."""

    offset: int
    """Byte offset of the record."""
    data: bytes
    fault: str
    """Empty if checksums and length are correct."""


def scan_records(path: Path) -> Iterator[Scanned]:
    """Yields all records of one file, including damaged ones.

    It continues after a record with damaged data, and stops at a damaged length,
    because the position of the next record is then unknown.

    Raises:
      OSError: the file cannot be opened.
    """
    size = path.stat().st_size
    offset = 0
    with path.open("rb", buffering=1 << 20) as file:
        while offset < size:
            header = file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES:
                yield Scanned(offset, b"", "the file ends within its header")
                return
            if masked_crc(header[:8]) != _CRC.unpack(header[8:])[0]:
                yield Scanned(
                    offset, b"", (not offset and _compression(header)) or "the checksum of its length is wrong"
                )
                return
            length = _LENGTH.unpack(header[:8])[0]
            if offset + _HEADER_BYTES + length + _CRC.size > size:
                yield Scanned(offset, b"", f"it should hold {length} bytes, but the file ends before")
                return
            data, crc = file.read(length), file.read(_CRC.size)
            is_whole = len(crc) == _CRC.size and masked_crc(data) == _CRC.unpack(crc)[0]
            yield Scanned(offset, data, "" if is_whole else "the checksum of its data is wrong")
            offset += _HEADER_BYTES + length + _CRC.size


def read_records(path: Path) -> Iterator[bytes]:
    """Yields the records of one file.

    Raises:
      DatasetError: a checksum is wrong or the file is truncated; the message
        names record and byte.
      OSError: the file cannot be opened.
    """
    for number, (offset, data, fault) in enumerate(scan_records(path)):
        if fault:
            raise _damaged(path, number, offset, fault)
        yield data


def _compression(header: bytes) -> str:
    """Returns a message for a compressed file, which TensorFlow's writer can produce; empty for others."""
    if header[:2] == b"\x1f\x8b":
        return "it is compressed with gzip; unpack it by `gunzip -c FILE > FILE.unpacked`"
    is_zlib = header[0] & 0x0F == 8 and int.from_bytes(header[:2], "big") % 31 == 0
    return "it is compressed with zlib; write it again without compression" if is_zlib else ""


def _damaged(path: Path, number: int, offset: int, what: str) -> DatasetError:
    if what.startswith("it is compressed"):
        return DatasetError(f"{path} must be a TFRecord file without compression, but {what}.")
    return DatasetError(
        f"{path} is not a whole TFRecord file: in record {number} (counted from 0, at byte {offset}) {what}. "
        "Create the shards again, or copy them again from their origin."
    )
