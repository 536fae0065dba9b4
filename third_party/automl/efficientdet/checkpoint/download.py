"""Download of checkpoints: fetched once, validated, and stored in a cache."""

import errno
import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from efficientdet.checkpoint import formats
from efficientdet.checkpoint.archives import sha256_of
from efficientdet.errors import CheckpointError, CheckpointUnavailableError

TIMEOUT_SECONDS = (10.0, 30.0)
"""Timeout of the connection, and between two parts of a response."""

MAX_DOWNLOAD_BYTES = 4 << 30
"""Larger responses are rejected; automl's largest archive takes a tenth of it."""

_NOT_THERE = (401, 403, 404, 410)
_OK = 200
_CHUNK_BYTES = 1 << 16
_ABANDONED_SECONDS = 3600.0


def cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """Returns the folder of cached checkpoints: the given one, or `efficientdet` in the user's cache."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    return _users_cache() / "efficientdet"


def cached_path(name: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    """Returns the path of a file of that name in the cache, whether it exists or not.

    Without `cache_dir`, a file in the cache of an earlier version of
    `efficientdet_pipeline` is found too.
    """
    path = cache_folder(cache_dir) / name
    if cache_dir is None and not path.is_file():
        for home in (_users_cache(), Path("~/.cache").expanduser()):
            earlier = home / "efficientdet-pipeline" / "checkpoints" / name
            if earlier.is_file():
                return earlier
    return path


def _users_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def cached_name(url: str) -> str:
    """Returns the file name of a URL in the cache; URLs with the same base name have different ones."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-100:].lstrip(".")
    return f"{hashlib.sha256(url.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}-{name or 'checkpoint'}"


def shown_url(url: str) -> str:
    """Returns a URL for messages, without user name, password and the values of its query.

    >>> shown_url("https://me:secret@host/a.tgz?token=abc")
    'https://***@host/a.tgz?token=***'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.split("://", maxsplit=1)[0] + "://***"
    user, _, host = parts.netloc.rpartition("@")
    # A password with a slash ends the host early.
    path = f"/***@{parts.path.rpartition('@')[2]}" if "@" in parts.path and ":" in parts.netloc else parts.path
    host = "***" if path != parts.path else host
    # A query component without a name is all value.
    query = "&".join(part.split("=")[0] + "=***" if "=" in part else "***" for part in parts.query.split("&"))
    return f"{parts.scheme}://{'***@' if user else ''}{host}{path}" + (f"?{query}" if parts.query else "")


def fetch(url: str, path: Path, *, sha256: str | None = None) -> Path:
    """Returns `path` with the file of a URL; downloads it only if it does not exist.

    Args:
      url: http or https.
      path: location in the cache. A file that was copied there manually is used too.
      sha256: expected hash of the file, as 64 hexadecimal digits.

    Raises:
      FileNotFoundError: the server does not have the file.
      CheckpointUnavailableError: the server does not respond.
      CheckpointError: the file has another hash, is too large, or is not a
        checkpoint; a file downloaded by this call is then deleted.
      OSError: the disk is full or not writable.
    """
    if path.is_file():
        return _with_hash(path, sha256, path, url, "delete it to fetch it again, or correct the hash")
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _download(url, part, path)
        _with_hash(part, sha256, path, url, "it was not kept. Correct the hash, or ask the owner of the file")
        with part.open("rb") as file:
            is_readable = formats.is_readable(file.read(formats.HEAD_BYTES))
        if not is_readable:
            raise CheckpointError(
                f"{shown_url(url)} must be a checkpoint: an HDF5 file (.h5), a tar archive, a PyTorch or a safetensors "
                f"file. "
                f"{formats.refusal(part)} Nothing was kept."
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _with_hash(file: Path, sha256: str | None, path: Path, url: str, advice: str) -> Path:
    if sha256 is not None and (found := sha256_of(file)) != sha256.lower():
        raise CheckpointError(f"{shown_url(url)} must have the SHA-256 hash {sha256}. {path} has {found}; {advice}.")
    return file


def _clear_abandoned(path: Path) -> None:
    """Removes partial downloads of processes that were killed."""
    for part in path.parent.glob(f"{path.name}.*.part"):
        if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
            part.unlink(missing_ok=True)


def _download(url: str, part: Path, path: Path) -> None:
    import requests
    from urllib3.exceptions import HTTPError

    from efficientdet.checkpoint.transfer_rate import rated_session

    # With compression the announced length would differ from the length of the file.
    headers = {"Accept-Encoding": "identity"}
    try:
        with (
            rated_session() as session,
            session.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers) as response,
        ):
            if response.status_code in _NOT_THERE:
                raise FileNotFoundError(
                    f"{shown_url(url)} must be a public checkpoint. The server answered "
                    f"{response.status_code}; check the address."
                )
            if response.status_code != _OK:
                raise requests.ConnectionError(f"the server answered {response.status_code}")
            stated = response.headers.get("Content-Length", "")
            expected = int(stated) if re.fullmatch("[0-9]{1,18}", stated) else None
            _refuse_too_much(url, expected or 0)
            _need_space(url, expected or 0, part)
            with part.open("wb") as file:
                received = _receive(response, file, url)
            if expected is not None and received != expected:
                raise requests.ConnectionError(f"{received} of {expected} bytes arrived")
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, HTTPError, ValueError) as error:
        # The target of a redirect is arbitrary, and urllib3 rejects some with its own exceptions.
        raise CheckpointError(
            f"{shown_url(url)} and the targets of its redirects must be valid URLs. "
            f"{type(error).__name__} was raised; check the address."
        ) from error
    except requests.RequestException as error:
        raise CheckpointUnavailableError(
            f"The checkpoint {path.name} is not in the cache, and {shown_url(url)} could not be fetched: "
            f"{_reason(error)}. Without a network, copy that file to {path} yourself.",
            _reason(error),
        ) from error


def _receive(response: Any, file: IO[bytes], url: str) -> int:
    received = 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        received += len(chunk)
        _refuse_too_much(url, received)
        file.write(chunk)
    return received


def _refuse_too_much(url: str, num_bytes: int) -> None:
    if num_bytes > MAX_DOWNLOAD_BYTES:
        raise CheckpointError(
            f"{shown_url(url)} must send at most {MAX_DOWNLOAD_BYTES:,} bytes. It sends {num_bytes:,} or more; nothing "
            "was kept."
        )


def _need_space(url: str, num_bytes: int, part: Path) -> None:
    free = shutil.disk_usage(part.parent).free
    if num_bytes > free:
        message = f"{shown_url(url)} needs {num_bytes:,} bytes and the disk has {free:,} free"
        raise OSError(errno.ENOSPC, message, str(part.parent))


def _reason(error: BaseException) -> str:
    """Returns the message of the system, below the layers that wrap it."""
    from efficientdet.checkpoint.transfer_rate import SlowServerError

    while error.__context__ is not None and not isinstance(error, SlowServerError):
        error = error.__context__
    # Printable, and without URLs: that of a proxy or a redirect may contain a password.
    words = "".join(letter if letter.isprintable() else " " for letter in str(error))
    words = re.sub(r"[a-z][a-z0-9+.-]*://\S+", "***", words, flags=re.IGNORECASE)
    return re.sub(r"\burl: \S+", "url: ***", words)[:300].rstrip(". ") or type(error).__name__
