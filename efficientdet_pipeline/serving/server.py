"""HTTP server of a detector, in threads of its own.

>>> with DetectionServer(service, options) as server:
...     print(server.url)
...     server.wait()
http://127.0.0.1:8080/
"""

import socket
import threading
from types import TracebackType

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.options.serve import ServerOptions
from efficientdet_pipeline.serving.prediction_service import Limits, PredictionService

_MAX_HEADER_BYTES = 16 << 10
_CONNECTIONS_BESIDE = 64
"""Connections beside those of requests in progress: idle ones, and those that are refused in an orderly way."""


def limits_of(options: ServerOptions) -> Limits:
    """Returns the limits that the options name."""
    return Limits(
        max_body_bytes=round(options.max_request_mb * (1 << 20)),
        max_pixels=round(options.max_megapixels * 1e6),
        timeout=options.request_timeout,
        max_pending=options.max_pending,
        max_batch_size=options.max_batch_size,
        batch_delay=options.batch_delay_ms / 1000,
    )


def check_installed() -> None:
    """Raises MissingExtraError if the packages of the server are not installed."""
    for package in ("starlette", "uvicorn"):
        import_extra(package, purpose="--mode=serve")


class DetectionServer:
    """A server that starts and ends with its context; signals are left to the program."""

    def __init__(self, service: PredictionService, options: ServerOptions):
        """Opens the port.

        Args:
          service: answers the requests; the server closes it.
          options: the address.

        Raises:
          OptionsError: the address cannot be opened.
          MissingExtraError: a package of the server is not installed.
        """
        check_installed()
        import uvicorn

        from efficientdet_pipeline.serving.web_app import build_app

        self._service = service
        self._socket = _listening(options)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        """Address of the page."""
        config = uvicorn.Config(
            build_app(service, is_local=options.is_local),
            # Of the standard distribution alone, so that the server is the same wherever it runs.
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            limit_concurrency=options.max_pending + _CONNECTIONS_BESIDE,
            timeout_graceful_shutdown=int(options.request_timeout) + 1,
        )
        self._server = uvicorn.Server(config)
        # Not in the main thread, where uvicorn would take the signals of the program.
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
        # A signal that interrupts Thread.join marks the thread as ended, in Python 3.11.
        self._ended = threading.Event()

    def __enter__(self) -> "DetectionServer":
        """Begins to serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answers the requests in progress, and stops."""
        self._server.should_exit = True
        self._ended.wait()
        self._socket.close()
        self._service.close()

    def wait(self) -> None:
        """Serves until a signal raises an exception."""
        self._ended.wait()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._ended.set()


def _listening(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        raise OptionsError(
            f"The server needs an address of this machine and a free port. Received host={options.host!r} and "
            f"port={options.port}, which cannot be opened ({getattr(error, 'strerror', None) or error}); try another "
            "port, or 0 for a free one.",
            option="port",
        ) from error
