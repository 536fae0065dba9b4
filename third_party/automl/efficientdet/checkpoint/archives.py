"""Untrusted tar archives of checkpoints: validated, then unpacked atomically into the cache.

The unpacked stream is counted while it is read. tarfile reads the long name or
the header of a member as a whole before the caller sees the member, so these
have a limit of their own: pax headers of all members are kept in memory.
"""

import errno
import gzip
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import unicodedata
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from efficientdet.checkpoint.formats import GZIP
from efficientdet.errors import CheckpointError

MAX_UNPACKED_BYTES = 8 << 30
"""Archives that unpack to more are rejected; automl's largest takes a twentieth of it."""

MAX_MEMBERS = 1000
"""Number of files and folders; a checkpoint has less than a hundred."""

_MAX_HEADER_BYTES = 4 << 20
_READ_AHEAD_BYTES = tarfile.RECORDSIZE
_MAX_PATH_BYTES = 1024
_MAX_NAME_BYTES = 255
_MAX_DEPTH = 32
_COPY_BYTES = 1 << 20
# Errors of the file system for names that it does not support; other errors are reported as they are.
_NAME_ERRORS = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ, errno.EINVAL}


def unpack(archive: Path, cache_dir: Path) -> Path:
    """Returns the folder in the cache with the content of a tar archive; unpacks it on first use.

    The name of the folder contains the hash of the archive, so another archive
    of the same name has another folder.

    Raises:
      CheckpointError: it is damaged, has members that would be written outside
        of that folder, or exceeds `MAX_UNPACKED_BYTES` or `MAX_MEMBERS`.
      OSError: the disk is full or not writable.
    """
    stem = re.sub(r"(\.tar)?\.[^.]*$", "", archive.name)[-100:] or "checkpoint"
    folder = cache_dir / f"{stem}-{sha256_of(archive)[:12]}"
    if folder.is_dir():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{stem}-", dir=cache_dir))
    try:
        _extract(archive, fresh)
        os.replace(fresh, folder)
    except OSError:
        # If another process was faster, its folder has the same content.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def sha256_of(path: Path) -> str:
    """Returns the hash of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Stream:
    """The bytes of an archive, unpacked by gzip and counted."""

    def __init__(self, file: IO[bytes], archive: Path) -> None:
        self.archive = archive
        self.headers_left = _MAX_HEADER_BYTES
        self.limit = _MAX_HEADER_BYTES
        """Limit of the bytes that may be read now; tarfile reads the first header when it opens an archive."""
        self.position = 0
        self._file = gzip.GzipFile(fileobj=file) if file.peek(2).startswith(GZIP) else file  # type: ignore[attr-defined]

    def read(self, num_bytes: int) -> bytes:
        try:
            data = self._file.read(num_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise tarfile.ReadError(str(error)) from error
        self.position += len(data)
        if self.position > MAX_UNPACKED_BYTES:
            raise _refused(self.archive, f"must hold at most {MAX_UNPACKED_BYTES:,} bytes. It holds more")
        if self.position > self.limit:
            words = f"must have headers of at most {_MAX_HEADER_BYTES:,} bytes in all. It has more"
            raise _refused(self.archive, words)
        return data


class _Header(tarfile.TarInfo):
    """A header that may be damaged: tarfile takes a damaged one after the first member for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str | None, errors: str) -> Any:
        try:
            return super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _extract(archive: Path, folder: Path) -> None:
    names = _Names(archive)
    try:
        with archive.open("rb") as file:
            stream = _Stream(file, archive)
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar:  # type: ignore[call-overload]
                while (member := _next(tar, stream)) is not None:
                    parts = names.checked(member)
                    content = tar.extractfile(member)
                    if content is not None and parts and not parts[-1].startswith("._"):
                        _write(content, folder.joinpath(*parts), member.size)
            while stream.read(_COPY_BYTES):
                """Read to the end, where gzip's checksum is."""
    except (tarfile.TarError, EOFError, zlib.error, RecursionError, ValueError) as error:
        raise _damaged(archive, str(error)) from error
    except OSError as error:
        if error.errno not in _NAME_ERRORS:
            raise
        raise _damaged(archive, f"{error.strerror}: {Path(str(error.filename or '')).name[:100]!r}") from error


def _next(tar: Any, stream: _Stream) -> tarfile.TarInfo | None:
    """Returns the next member; its headers, of which there may be several, are read with a separate limit."""
    start = tar.offset if tar.firstmember is None else 0  # The first header has been read already.
    stream.limit = tar.offset + stream.headers_left + _READ_AHEAD_BYTES
    member: tarfile.TarInfo | None = tar.next()
    stream.limit = MAX_UNPACKED_BYTES
    stream.headers_left -= member.offset_data - start if member else 0
    tar.members = []  # tarfile keeps all members.
    return member


class _Names:
    """Names of the members read so far."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.count = 0
        self.files: set[tuple[str, ...]] = set()
        self.folders: set[tuple[str, ...]] = set()

    def checked(self, member: tarfile.TarInfo) -> tuple[str, ...]:
        """Returns the components of a member's path.

        Raises:
          CheckpointError: it is not a plain file or folder, would be written
            elsewhere, or conflicts with an earlier member.
        """
        self.count += 1
        if self.count > MAX_MEMBERS:
            raise _refused(self.archive, f"must hold at most {MAX_MEMBERS} files and folders. It holds more")
        parts = PurePosixPath(member.name).parts
        is_plain = (member.isfile() or member.isdir()) and not member.issparse()
        if not is_plain or ".." in parts or member.name.startswith(("/", "\\")) or re.match("[A-Za-z]:", member.name):
            raise _refused(
                self.archive,
                f"must hold plain files and folders only. Its member {member.name[:200]!r} is a link, or "
                "would be written outside of the folder it is unpacked to",
            )
        fault = _name_fault(member.name, parts)
        if fault:
            raise _refused(self.archive, f"must hold names that every system can write. {member.name[:200]!r} {fault}")
        ancestors = {parts[:length] for length in range(1, len(parts))}
        if parts in self.files or (member.isfile() and parts in self.folders) or ancestors & self.files:
            raise _refused(self.archive, f"must hold each name once. It holds {member.name[:200]!r} twice")
        (self.files if member.isfile() else self.folders).add(parts)
        self.folders |= ancestors
        return parts


def _name_fault(name: str, parts: tuple[str, ...]) -> str | None:
    if "\\" in name:
        return "has a backslash"
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name):
        return "has a character that cannot be printed"
    if len(name.encode()) > _MAX_PATH_BYTES or any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        return f"has more than {_MAX_NAME_BYTES} bytes, or its path more than {_MAX_PATH_BYTES}"
    if len(parts) > _MAX_DEPTH:
        return f"lies more than {_MAX_DEPTH} folders deep"
    return None


def _write(content: IO[bytes], target: Path, num_bytes: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if num_bytes > free:
        message = f"unpacking needs {num_bytes:,} bytes and the disk has {free:,} free"
        raise OSError(errno.ENOSPC, message, str(target.parent))
    with target.open("xb") as file:
        shutil.copyfileobj(content, file, _COPY_BYTES)


def _refused(archive: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{archive} {what}; nothing was kept.")


def _damaged(archive: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{archive} must be a complete tar archive. Unpacking it failed: {why}. Delete it and fetch it again."
    )
