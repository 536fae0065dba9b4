"""Checkpoints from the web: fetched once, unpacked once, kept in a cache."""

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from efficientdet.errors import CheckpointError, CheckpointUnavailableError

TIMEOUT_SECONDS = (10.0, 30.0)
"""To connect, and between two pieces of an answer."""

MAX_UNPACKED_BYTES = 8 << 30
"""An archive that unpacks to more is refused; automl's largest takes a twentieth of it."""

_NOT_THERE = (401, 403, 404, 410)


def cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """Returns where checkpoints are kept: the folder given, or `efficientdet` in the user's cache."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "efficientdet"


def cached_name(url: str) -> str:
    """Returns the name of an address's file in the cache; equal names of two addresses stay apart."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-100:].lstrip(".")
    return f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name or 'checkpoint'}"


def fetch(url: str, path: Path, *, sha256: str | None = None) -> Path:
    """Returns `path`, which holds the file of an address; asks the web only if it is not there.

    Args:
      url: http or https.
      path: place in the cache. Put there by hand, the file serves as well.
      sha256: hash that the file must have, as 64 hexadecimal digits.

    Raises:
      FileNotFoundError: the server knows no such file.
      CheckpointUnavailableError: the server does not answer.
      CheckpointError: the file has another hash.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            _download(url, part, path)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    if sha256 is not None and (found := _sha256(path)) != sha256.lower():
        raise CheckpointError(
            f"{url} must have the SHA-256 hash {sha256}. {path} has {found}; delete it to fetch it again, "
            "or correct the hash."
        )
    return path


def _download(url: str, part: Path, path: Path) -> None:
    import requests

    try:
        # Compression on the way would make the length that is announced another one.
        headers = {"Accept-Encoding": "identity"}
        with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers) as response:
            if response.status_code in _NOT_THERE:
                raise FileNotFoundError(
                    f"{url} must be a checkpoint that everyone may fetch. The server answered {response.status_code}; "
                    "check the address."
                )
            response.raise_for_status()
            with part.open("wb") as file:
                for chunk in response.iter_content(1 << 20):
                    file.write(chunk)
                received = file.tell()
            expected = response.headers.get("Content-Length", "")
            if expected.isdigit() and received != int(expected):
                raise requests.ConnectionError(f"{received} of {expected} bytes came")
    except requests.RequestException as error:
        raise CheckpointUnavailableError(
            f"The checkpoint {path.name} is not in the cache, and {url} could not be fetched: {_reason(error)}. "
            f"Without a network put that file at {path} yourself, or start from random weights with "
            "--pretrained_ckpt=none."
        ) from error


def _reason(error: BaseException) -> str:
    """Returns what the system said, below the layers that pass it on."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).rstrip(".") or type(error).__name__


def unpack(archive: Path, cache_dir: Path) -> Path:
    """Returns the folder in the cache that holds what a tar archive holds; unpacks it the first time.

    The folder's name has the hash of the archive, so another archive of the
    same name has another folder.

    Raises:
      CheckpointError: it is damaged, or holds what would not stay in that folder.
    """
    stem = re.sub(r"(\.tar)?\.[^.]*$", "", archive.name) or "checkpoint"
    folder = cache_dir / f"{stem}-{_sha256(archive)[:12]}"
    if folder.is_dir():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{stem}-", dir=cache_dir))
    try:
        _extract(archive, fresh)
        os.replace(fresh, folder)
    except OSError:
        # Where another process was quicker, its folder holds the same.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _extract(archive: Path, folder: Path) -> None:
    left = MAX_UNPACKED_BYTES
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                if not (member.isfile() or member.isdir()) or ".." in parts or member.name.startswith(("/", "\\")):
                    raise CheckpointError(
                        f"{archive} must hold plain files and folders only. Its member {member.name!r} is a link, or "
                        "would lie outside of the folder it is unpacked to; nothing was kept."
                    )
                left -= member.size
                if left < 0:
                    raise CheckpointError(
                        f"{archive} must hold at most {MAX_UNPACKED_BYTES:,} bytes. It holds more; nothing was kept."
                    )
                content = tar.extractfile(member)
                if content is None or not parts or parts[-1].startswith("._"):
                    continue
                target = folder.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, zlib.error, NotADirectoryError) as error:
        raise CheckpointError(
            f"{archive} must be a whole tar archive. Unpacking it failed: {error}. Delete it and fetch it again."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
