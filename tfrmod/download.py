"""HTTP download: verified, resumed after an interruption, and cached."""

import json
import logging
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import HTTPError

from tfrmod import fileio
from tfrmod.download_errors import (
    READ_SECONDS,
    error_reason,
    innermost_message,
    printable,
    shown_message,
    slow_server_message,
)
from tfrmod.errors import DatasetError, NetworkError
from tfrmod.file_types import described
from tfrmod.fileio import waiting_lock
from tfrmod.transfer_rate import rated_session
from tfrmod.urls import redact_url, url_id

MAX_BYTES = 500 << 30
_CONNECT_SECONDS = 10.0
_WAITS = (0.5, 1.0, 2.0)
_CHUNK_BYTES = 1 << 16  # Largest loss when the connection is interrupted.
_NUMBER = re.compile(r"[0-9]{1,18}")
_OK, _PARTIAL, _UNCHANGED, _NOT_FOUND, _GONE, _BAD_RANGE, _BUSY = 200, 206, 304, 404, 410, 416, 429

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Known:
    """Metadata of a complete or partial file in the cache; stored as JSON next to it."""

    url: str
    """URL for messages, without passwords and tokens."""
    url_id: str = ""
    """`urls.url_id` of the full URL."""
    etag: str = ""
    last_modified: str = ""
    size: int | None = None
    sha256: str = ""

    @property
    def validator(self) -> str:
        """Returns a validator for If-Range; a weak ETag does not guarantee identical bytes."""
        return self.last_modified if self.etag.startswith("W/") or not self.etag else self.etag


class _Dropped(Exception):
    """The connection was interrupted; another attempt may succeed."""


def fetch(
    url: str,
    cache_dir: Path,
    *,
    sha256: str | None = None,
    max_bytes: int = MAX_BYTES,
    on_progress: Progress | None = None,
    flag: str = "--url_dataset",
    is_zip: bool = False,
) -> Path:
    """Returns the file of a URL, from the cache if that is still valid.

    A file in the cache is used if the server reports that it has not changed, if
    its hash is the requested one, or if there is no network.

    Args:
      url: http or https.
      cache_dir: the file is stored there under its own name, prefixed by 12
        digits that identify the URL.
      sha256: expected hex digest of the file.
      max_bytes: limit of the response.
      on_progress: called with received and total bytes; None if unknown.
      flag: name of the flag with the URL, for messages.
      is_zip: whether other content than a zip archive, such as a login page,
        is rejected and not stored.

    Raises:
      DatasetError: the file does not exist (`missing`), access is denied, or type or hash differ.
      NetworkError: no connection, no response in time, or an error of the server.
      OSError: the disk is full or not writable.
    """
    if not _is_address(url):
        raise DatasetError(f"{flag} must be an http or https address to be downloaded. Received {redact_url(url)!r}.")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256.strip()):
        raise DatasetError(
            f"A SHA-256 hash has 64 hexadecimal digits. Received {sha256!r} for {redact_url(url)} ({flag})."
        )
    path = cache_path(url, cache_dir)
    cache_dir.mkdir(parents=True, exist_ok=True)
    download = _Download(url, path, flag, max_bytes=max_bytes, on_progress=on_progress, is_zip=is_zip)
    with waiting_lock(path):
        _clear_away(path)
        cached = _cached(path, url)
        if cached is None or (sha256 and cached.sha256 != sha256.strip().lower()):
            cached = download.run(None)
        elif not sha256:
            cached = download.run(cached)
    if sha256 and cached.sha256 != sha256.strip().lower():
        _sidecar(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise DatasetError(
            f"{redact_url(url)} ({flag}) has the SHA-256 hash {cached.sha256}, and {sha256} was expected. The file was "
            "not kept. Either it was changed at its origin or on the way, or the expected hash is that of another file."
        )
    return path


def cache_path(url: str, cache_dir: Path) -> Path:
    """Returns the path where `fetch` stores the file of a URL."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", unquote(urlsplit(url).path).rpartition("/")[2])[-100:].lstrip(".")
    return cache_dir / f"{url_id(url)[:12]}-{name or 'download'}"


def forget(path: Path) -> None:
    """Removes a file from the cache, so that the next `fetch` does not find it."""
    with waiting_lock(path):
        _sidecar(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _clear_away(path: Path) -> None:
    """Removes files of a process that was killed between two steps, and those of no further use."""
    for left in path.parent.glob(f".{path.name}*.partial-*"):
        left.unlink(missing_ok=True)
    part = _part(path)
    if not part.exists():
        _sidecar(part).unlink(missing_ok=True)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


class _Download:
    """One download in progress."""

    def __init__(
        self, url: str, path: Path, flag: str, *, max_bytes: int, on_progress: Progress | None, is_zip: bool
    ) -> None:
        self.url = url
        self.name = redact_url(url)
        """Name of the file in messages."""
        self.path = path
        self.flag = flag
        self.max_bytes = max_bytes
        self.on_progress = on_progress
        self.is_zip = is_zip
        self.part = _part(path)

    def run(self, cached: Known | None) -> Known:
        """Downloads the file, or validates the cached one; tries again after interruptions."""
        tries, furthest = 0, 0
        while True:
            try:
                return self._attempt(cached)
            except (_Dropped, NetworkError) as error:
                if cached is not None:
                    logging.warning("%s did not answer; the copy in the cache is used (%s).", self.name, self.path)
                    return cached
                if isinstance(error, NetworkError):
                    raise
                done = self.part.stat().st_size if self.part.exists() else 0
                # Limits attempts: with a byte at a time, a server could continue forever.
                is_progress = done >= furthest + _CHUNK_BYTES
                tries, furthest = (0, done) if is_progress else (tries + 1, furthest)
                if tries > len(_WAITS):
                    raise self._network_error(str(error)) from error
                time.sleep(_WAITS[max(0, tries - 1)])

    def _attempt(self, cached: Known | None) -> Known:
        begun = _read_known(_sidecar(self.part)) if self.part.exists() else None
        offset = self.part.stat().st_size if begun and begun.url_id == url_id(self.url) and begun.validator else 0
        headers = {"Accept-Encoding": "identity"}
        if cached is not None and cached.validator:
            headers |= {"If-None-Match": cached.etag} if cached.etag else {"If-Modified-Since": cached.last_modified}
        elif begun and offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": begun.validator}
        try:
            timeout = (_CONNECT_SECONDS, READ_SECONDS)
            with (
                rated_session() as session,
                session.get(self.url, headers=headers, stream=True, timeout=timeout) as response,
            ):
                if response.status_code == _UNCHANGED and cached is not None:
                    return cached
                if response.status_code == _BAD_RANGE:
                    self.part.unlink()
                    raise _Dropped("it has changed since the download began")
                self._refuse_errors(response)
                if cached is not None and _is_same(response, cached):
                    return cached
                return self._receive(response, offset, begun)
        except requests.exceptions.SSLError as error:
            raise self._network_error(f"its TLS certificate is not trusted ({innermost_message(error)})") from error
        except requests.exceptions.RequestException as error:
            if isinstance(error, ValueError):  # Such as InvalidURL and InvalidSchema.
                raise self._not_an_address(error) from error
            if (slow := slow_server_message(error)) is not None:
                raise self._network_error(f"it sends too slowly: {slow}") from error
            raise _Dropped(error_reason(error)) from error
        except (HTTPError, ValueError) as error:
            # The target of a redirect is arbitrary, and urllib3 rejects some with its own exceptions.
            raise self._not_an_address(error) from error

    def _not_an_address(self, error: Exception) -> DatasetError:
        return DatasetError(
            f"{self.name} ({self.flag}) is not an address that can be asked, or leads on to one that is not: "
            f"{shown_message(error)}. Check the address."
        )

    def _refuse_errors(self, response: requests.Response) -> None:
        status = response.status_code
        reason = printable(response.reason or "")
        answer = f"{self.name} ({self.flag}) answered {status} {reason}".rstrip()
        if status in (_NOT_FOUND, _GONE):
            raise DatasetError(f"{answer}: the file does not exist. Check the address.", missing=True)
        if status >= 500 or status == _BUSY:
            raise _Dropped(f"it answered {status} {reason}".rstrip())
        if status not in (_OK, _PARTIAL):
            raise DatasetError(f"{answer}. Does it need a log-in? It must be accessible without one.")

    def _receive(self, response: requests.Response, offset: int, begun: Known | None) -> Known:
        if response.status_code == _PARTIAL:
            start, total = _content_range(response)
            etag = response.headers.get("ETag", begun.etag if begun else "")
            # A server that supports ranges but not If-Range could combine two versions of the file.
            if begun is None or start != offset or (etag, total) != (begun.etag, begun.size):
                self.part.unlink(missing_ok=True)
                raise _Dropped("it sent another range than was requested")
        else:
            offset, total = 0, _content_length(response)
        headers = response.headers
        known = Known(
            url=self.name,
            url_id=url_id(self.url),
            etag=headers.get("ETag", ""),
            last_modified=headers.get("Last-Modified", ""),
            size=total,
        )
        self._refuse_too_much(total or 0)
        self._need_space(total, offset)
        if offset == 0:
            self.part.unlink(missing_ok=True)
            # A compressed response cannot be continued at an offset of the decompressed file.
            _write_known(_sidecar(self.part), known if _is_plain(response) else Known(url=self.name))
        done = offset
        with self.part.open("ab") as file:
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                self._refuse_too_much(done)
                if self.on_progress:
                    self.on_progress(done, total)
            fileio.sync(file)
        if total is not None and done != total:
            if done > total:
                self.part.unlink()
            raise _Dropped(f"{done} of {total} bytes arrived")
        return self._keep(known, done)

    def _keep(self, known: Known, size: int) -> Known:
        if self.is_zip and not zipfile.is_zipfile(self.part):
            raise self._not_a_zip()
        digest = fileio.sha256_of(self.part)
        whole = Known(**{**asdict(known), "size": size, "sha256": digest})
        # A file without its metadata counts as absent, so a kill between these steps only repeats the download.
        _sidecar(self.path).unlink(missing_ok=True)
        self.part.replace(self.path)
        _write_known(_sidecar(self.path), whole)
        _sidecar(self.part).unlink(missing_ok=True)
        return whole

    def _not_a_zip(self) -> DatasetError:
        with self.part.open("rb") as file:
            found = described(file.read(512))
        self._drop_part()
        cut_off = " that is cut off or damaged" if found == "a zip archive" else ""
        return DatasetError(
            f"{self.name} ({self.flag}) must be a zip archive. The server sent {found}{cut_off}; nothing was kept. "
            "Check the address in a browser, or name a local zip or folder."
        )

    def _drop_part(self) -> None:
        self.part.unlink(missing_ok=True)
        _sidecar(self.part).unlink(missing_ok=True)

    def _refuse_too_much(self, num_bytes: int) -> None:
        if num_bytes > self.max_bytes:
            self._drop_part()
            raise DatasetError(
                f"{self.name} ({self.flag}) sends {num_bytes:,} bytes or more; at most {self.max_bytes:,} are "
                "accepted. Nothing was kept. A local zip or folder may have any size."
            )

    def _need_space(self, total: int | None, offset: int) -> None:
        if total is not None:
            fileio.check_space(self.path.parent, total - offset, self.name)

    def _network_error(self, why: str) -> NetworkError:
        kept = self.part.stat().st_size if self.part.exists() else 0
        resumed = f" The {kept:,} bytes received are kept, and the next attempt continues from there." if kept else ""
        return NetworkError(
            f"{self.name} ({self.flag}) could not be fetched: {why}. Is the network up and the address right?{resumed} "
            "A local zip or folder works without a network."
        )


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _cached(path: Path, url: str) -> Known | None:
    known = _read_known(_sidecar(path))
    is_whole = (
        known is not None and known.url_id == url_id(url) and path.is_file() and path.stat().st_size == known.size
    )
    return known if is_whole else None


def _read_known(path: Path) -> Known | None:
    try:
        known = Known(**json.loads(path.read_text(encoding="utf-8")))
        # Metadata of earlier versions has only the full URL.
        return known if known.url_id else replace(known, url=redact_url(known.url), url_id=url_id(known.url))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _write_known(path: Path, known: Known) -> None:
    fileio.write_file(path, json.dumps(asdict(known), indent=2) + "\n")


def _is_same(response: requests.Response, cached: Known) -> bool:
    """Returns whether the cached file is still current, for a server that ignores conditions or sends no validator."""
    if _content_length(response) != cached.size:
        return False
    now = (response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
    return now == (cached.etag, cached.last_modified)


def _content_length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if _NUMBER.fullmatch(text) and _is_plain(response) else None


def _is_plain(response: requests.Response) -> bool:
    return response.headers.get("Content-Encoding", "").strip().lower() in ("", "identity")


def _content_range(response: requests.Response) -> tuple[int, int | None]:
    stated = response.headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", stated)
    if match is None:
        return -1, None
    return int(match[1]), None if match[2] == "*" else int(match[2])
