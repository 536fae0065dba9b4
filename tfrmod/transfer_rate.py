"""HTTP session with a minimum transfer rate, for headers and body.

A read timeout starts again with every byte, so a server could keep a download
open forever with one byte per second. tfrmod and efficientdet do not import each
other: each has a copy of this file, and a test keeps the copies equal.
"""

import http.client
import io
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

WINDOW_SECONDS = 60.0
MIN_BYTES_PER_SECOND = 1024
_REDIRECTS = {301, 302, 303, 307, 308}


class SlowServerError(TimeoutError):
    """The server is slower than the minimum rate."""


def rated_session() -> requests.Session:
    """Returns a session whose responses must have the minimum rate, measured while waiting for the server."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _RatedAdapter())
    return session


class _RatedReader(io.RawIOBase):
    """Reads from a socket; raises SlowServerError below the minimum rate."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._waited = 0.0
        self._num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        start = time.monotonic()
        count = self._raw.readinto(buffer)
        # The time that the caller takes to store the bytes is not counted.
        self._waited += time.monotonic() - start
        self._num_bytes += count or 0
        if self._waited >= WINDOW_SECONDS:
            if self._num_bytes < MIN_BYTES_PER_SECOND * self._waited:
                raise SlowServerError(f"{self._num_bytes:,} bytes arrived in {self._waited:.0f} seconds")
            self._waited, self._num_bytes = 0.0, 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _RatedResponse(http.client.HTTPResponse):
    """Reads through a `_RatedReader` from the status line on."""

    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_RatedReader(self.fp.detach()))

    def begin(self) -> None:
        super().begin()
        if self.status in _REDIRECTS:
            # requests would read the body of a redirect into memory, whatever its size; it is not needed.
            for name in ("Content-Length", "Transfer-Encoding", "Content-Encoding"):
                del self.headers[name]
            self.length, self.chunked, self.will_close = 0, False, True


class _RatedAdapter(HTTPAdapter):
    """Makes the connections of all pools, including those of proxies, return `_RatedResponse`."""

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        plain = pool.ConnectionCls
        if plain.response_class is not _RatedResponse:
            pool.ConnectionCls = type(plain.__name__, (plain,), {"response_class": _RatedResponse})
        return pool
