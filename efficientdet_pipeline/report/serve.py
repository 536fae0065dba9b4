"""Live view of a run: its report on a local, read-only HTTP server, rendered on each request.

>>> with LiveView(lambda: report_page(contents_of(run), refresh_seconds=10)) as view:
...     print(view.url)
...     view.wait()
http://127.0.0.1:8000/
"""

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from absl import logging

from efficientdet_pipeline.errors import OptionsError, error_message

HOST = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost")
_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".png": "image/png",
    ".yaml": "text/plain; charset=utf-8",
}
_MAX_BYTES = 64 << 20


class LiveView:
    """A local server of one page and a few named files; a context manager."""

    def __init__(self, page: Callable[[], str], *, files: Mapping[str, Path] | None = None, port: int = 0):
        """Opens the port.

        Args:
          page: returns the HTML; it is called for every request, in any thread.
          files: name in the URL to the file; no other file is read.
          port: 0 for any free port.

        Raises:
          OptionsError: the port is in use.
        """
        handler = type("Handler", (_Handler,), {"page": staticmethod(page), "files": dict(files or {})})
        try:
            self._server = ThreadingHTTPServer((HOST, port), handler)
        except OSError as error:
            raise OptionsError(
                f"The live view needs a free port. Port {port} of {HOST} cannot be opened ({error.strerror}); try "
                "another one, or 0 for any free port.",
                option="port",
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="live view", daemon=True)

    @property
    def url(self) -> str:
        """Returns the URL for a browser on this machine."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def __enter__(self) -> "LiveView":
        """Starts serving."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self) -> None:
        """Serves until the process is interrupted."""
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    page: Callable[[], str]
    files: Mapping[str, Path]
    server_version = "LiveView"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def _answer(self, *, has_body: bool) -> None:
        # A web page whose host name points to this machine must not read the run (DNS rebinding).
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host") or ""
        if host not in _HOSTS:
            self._send(
                HTTPStatus.FORBIDDEN,
                "text/plain; charset=utf-8",
                b"Only available on this machine.\n",
                has_body=has_body,
            )
            return
        name = self.path.partition("?")[0].removeprefix("/")
        try:
            if name in {"", "index.html"}:
                content, kind = type(self).page().encode("utf-8"), "text/html; charset=utf-8"
            elif name in self.files:
                content, kind = self._file(self.files[name]), _TYPES.get(Path(name).suffix, "application/octet-stream")
            else:
                self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"Not found.\n", has_body=has_body)
                return
        except Exception as error:  # Files may be incomplete while the run writes them.
            message = f"The page cannot be rendered now: {error_message(error)}\n".encode()
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", message, has_body=has_body)
            return
        self._send(HTTPStatus.OK, kind, content, has_body=has_body)

    def _file(self, path: Path) -> bytes:
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES)

    def _send(self, status: HTTPStatus, kind: str, content: bytes, *, has_body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Frame-Options", "DENY")
        self.end_headers()
        if has_body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        logging.debug("live view: %s", format % args)
