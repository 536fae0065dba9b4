"""An HTTP session that gives up on a server which sends next to nothing, in headers or body.

A read timeout starts anew with every byte, so one byte a second would hold a
download for ever. tfrmod and efficientdet import nothing of each other: each
has this file, and a test keeps the two equal.
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
    """The server sends less than the least rate."""


def rated_session() -> requests.Session:
    """Returns a session whose answers must come at the least rate, measured while waiting for the server."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _RatedAdapter())
    return session


class _RatedReader(io.RawIOBase):
    """The bytes of a socket, as long as enough of them come."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._waited = 0.0
        self._num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        start = time.monotonic()
        count = self._raw.readinto(buffer)
        # The time that the caller takes to store the bytes is not the server's.
        self._waited += time.monotonic() - start
        self._num_bytes += count or 0
        if self._waited >= WINDOW_SECONDS:
            if self._num_bytes < MIN_BYTES_PER_SECOND * self._waited:
                raise SlowServerError(f"{self._num_bytes:,} bytes came in {self._waited:.0f} seconds")
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
            # requests reads the body of a redirect into memory, whatever its size; nobody needs it.
            for name in ("Content-Length", "Transfer-Encoding", "Content-Encoding"):
                del self.headers[name]
            self.length, self.chunked, self.will_close = 0, False, True


class _RatedAdapter(HTTPAdapter):
    """Gives every pool, those of proxies too, connections that answer in `_RatedResponse`s."""

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        plain = pool.ConnectionCls
        if plain.response_class is not _RatedResponse:
            pool.ConnectionCls = type(plain.__name__, (plain,), {"response_class": _RatedResponse})
        return pool
