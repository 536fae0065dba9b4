"""Objects of a bucket: listed, fetched, stored and deleted, with retries, and with errors in one sentence."""

import importlib
import logging as stdlib_logging
import os
import random
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from absl import logging

from efficientdet_pipeline.errors import (
    CannotWriteError,
    DownloadError,
    MissingError,
    MissingExtraError,
    OptionsError,
    PipelineError,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
PACKAGES = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3")}
"""Scheme of an address → the package that reads it, and the extra of this distribution that brings it."""
_ATTEMPTS = 5
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 20.0
_PATIENCE = 60.0
"""Seconds after which nothing is repeated: one attempt takes half a minute where the service's package repeats, too."""
# Of the messages and the class names of errors, in lower case, as the two services and their packages word them.
_NO_CREDENTIALS = (
    *("credential", "anonymous caller", "unauthorized", "invalidaccesskeyid", "signaturedoesnotmatch"),
    *("access key id", "request signature", "token has expired", "security token", "token is invalid"),
)
_NOT_ALLOWED = ("permission", "forbidden", "accessdenied", "access denied")
_NO_BUCKET = ("nosuchbucket", "bucket does not exist", "specified bucket")
_QUOTA = (
    *("quota", "ratelimit", "rate limit", "slowdown", "slow down", "reduce your request rate"),
    *("too many requests", "429", "507", "insufficientstorage", "insufficient storage"),
)
_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, PipelineError)


def is_remote(text: object) -> bool:
    """Returns whether a text is the address of an object or folder in a bucket."""
    return isinstance(text, str) and text.partition("://")[0] in PACKAGES and "://" in text


@dataclass(frozen=True)
class RemoteObject:
    """An object as a listing has it."""

    key: str
    """Path below the folder that was listed; empty for the object that was asked for itself."""
    size: int
    tag: str
    """Changes with the content."""


class ObjectStore:
    """Objects below addresses such as gs://BUCKET/PATH."""

    def __init__(self, files: "AbstractFileSystem", *, sleep: Callable[[float], None] = time.sleep):
        """Takes a file system of fsspec without a cache of listings."""
        self._files, self._sleep = files, sleep

    def list(self, url: str) -> "list[RemoteObject]":
        """Returns the objects below an address, or the object itself, by key; none where there are none."""
        prefix = self._path(url)

        def find() -> list[RemoteObject]:
            try:
                found = self._files.find(prefix, detail=True, withdirs=False)
            except FileNotFoundError as error:
                if _has(error, _NO_BUCKET):
                    raise
                return []
            items = found.items() if isinstance(found, dict) else []
            return sorted(
                (_described(str(path).strip("/")[len(prefix) :].lstrip("/"), info) for path, info in items),
                key=lambda each: each.key,
            )

        return self._tried(find, url, "read")

    def read(self, url: str) -> bytes | None:
        """Returns the content of an object; None where there is none."""

        def read_all() -> bytes | None:
            try:
                return bytes(self._files.cat_file(self._path(url)))
            except FileNotFoundError as error:
                if _has(error, _NO_BUCKET):
                    raise
                return None

        return self._tried(read_all, url, "read")

    def download(self, url: str, path: Path, *, size: int) -> None:
        """Writes an object to a path, whole or not at all."""
        partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
        path.parent.mkdir(parents=True, exist_ok=True)

        def fetch() -> None:
            self._files.get_file(self._path(url), str(partial))
            if partial.stat().st_size != size:
                raise ConnectionError(f"{partial.stat().st_size} of {size} bytes arrived")

        try:
            self._tried(fetch, url, "read")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def write(self, url: str, content: bytes) -> None:
        """Stores an object, whole or not at all."""
        self._tried(lambda: self._files.pipe_file(self._path(url), content), url, "write")

    def upload(self, path: Path, url: str) -> None:
        """Stores a file as an object, whole or not at all."""
        self._tried(lambda: self._files.put_file(str(path), self._path(url)), url, "write")

    def delete(self, urls: Iterable[str]) -> None:
        """Deletes objects; those that are not there count as deleted."""
        for url in urls:
            self._tried(lambda url=url: self._remove(url), url, "write")  # type: ignore[misc]

    def check_writable(self, url: str) -> None:
        """Raises an error now if objects below an address cannot be stored, rather than after the work."""
        probe = f"{url.rstrip('/')}/.writable-{secrets.token_hex(4)}"

        def write_and_delete() -> None:
            self._files.pipe_file(self._path(probe), b"")
            self._remove(probe)

        self._tried(write_and_delete, url, "write")

    def _remove(self, url: str) -> None:
        try:
            self._files.rm_file(self._path(url))
        except FileNotFoundError:
            """It is gone already, perhaps by an attempt whose answer was lost."""

    @staticmethod
    def _path(url: str) -> str:
        return url.partition("://")[2].strip("/")

    def _tried(self, act: Callable[[], T], url: str, verb: str) -> T:
        """Returns what `act` returns; repeats it after failures that may pass, after random waits that grow."""
        started = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return act()
            except Exception as error:
                if _lasts(error) or attempt == _ATTEMPTS or time.monotonic() - started > _PATIENCE:
                    raise storage_error(error, url, verb) from error
                wait = random.uniform(0.0, min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt))
                logging.debug("%s: %s; attempt %d follows in %.1f s.", url, error, attempt + 1, wait)
                self._sleep(wait)
        raise AssertionError("unreachable")


def open_store(url: str) -> ObjectStore:
    """Returns the store of an address, with the credentials that the service's own tools use.

    Raises:
      MissingExtraError: the package for it is not installed.
    """
    scheme = url.partition("://")[0]
    package, extra = PACKAGES[scheme]
    # Another kind of bucket, which gcsfs would look for before each access.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # It prints each failure; what follows from one is said by `storage_error`.
    stdlib_logging.getLogger("gcsfs").setLevel(stdlib_logging.CRITICAL)
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"{url} needs the package {package}, which cannot be imported ({error}); install it with "
            f"`pip install 'efficientdet-pipeline[{extra}]'`."
        ) from error
    system = module.GCSFileSystem if scheme == "gs" else module.S3FileSystem
    return ObjectStore(system(use_listings_cache=False, skip_instance_cache=True))


def storage_error(error: Exception, url: str, verb: str) -> Exception:
    """Returns an error of a service as one of ours, whose text says what to do."""
    if isinstance(error, PipelineError):
        return error
    bucket = "/".join(url.split("/")[:3])
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    if _has(error, _NO_CREDENTIALS):
        login = "`gcloud auth application-default login`" if url.startswith("gs://") else "`aws configure`"
        return OptionsError(
            f"Cannot {verb} {url}: no valid credentials ({reason}). Run {login}, or name a service account."
        )
    if isinstance(error, FileNotFoundError) and (
        verb == "write" or _has(error, _NO_BUCKET) or url.rstrip("/") == bucket
    ):
        return MissingError(f"There is no bucket {bucket}. Check the address {url}.")
    if isinstance(error, FileNotFoundError):
        return MissingError(f"There is nothing at {url}. Check the address.")
    if _has(error, _QUOTA):
        return DownloadError(
            f"Cannot {verb} {url}: the service's quota is used up ({reason}). Wait or raise it; the same command "
            "continues."
        )
    if isinstance(error, PermissionError) or _has(error, _NOT_ALLOWED):
        return CannotWriteError(
            f"Cannot {verb} {url}: the account has no permission ({reason}). Grant it the right to {verb} objects of "
            f"{bucket}."
        )
    return DownloadError(
        f"Cannot {verb} {url}: all attempts failed, the last with {reason}. Check the network; the same command "
        "continues."
    )


def _lasts(error: Exception) -> bool:
    """Returns whether a retry would fail too. Services may report an exceeded quota as a refusal."""
    is_refused = isinstance(error, _PERMANENT) or _has(error, _NO_CREDENTIALS) or _has(error, _NOT_ALLOWED)
    return is_refused and not _has(error, _QUOTA)


def _has(error: BaseException, words: tuple[str, ...]) -> bool:
    # What has a slash is an address, whose names say nothing of the error.
    text = " ".join(word for word in f"{type(error).__name__} {error}".lower().split() if "/" not in word)
    return any(word in text for word in words)


def _described(key: str, info: dict[str, object]) -> RemoteObject:
    tag = info.get("ETag") or info.get("etag") or info.get("md5Hash") or info.get("created") or info.get("mtime")
    return RemoteObject(key, int(str(info.get("size") or 0)), str(tag))
