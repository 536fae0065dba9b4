"""Options of --mode=serve."""

from dataclasses import dataclass

from efficientdet_pipeline.options.infer import DetectorOptions
from efficientdet_pipeline.options.schema import Options, check, option


@dataclass(frozen=True, kw_only=True)
class ServerOptions(Options):
    """HTTP server."""

    host: str = option(
        "127.0.0.1",
        "Address to listen on. Default: this machine only; 0.0.0.0: all networks of this machine, without "
        "authentication.",
    )
    port: int = option(8080, "Port to listen on. 0: any free port.")
    max_request_mb: float = option(
        16.0, "Maximum size of a request body in MiB; larger ones are rejected with status 413."
    )
    max_megapixels: float = option(
        50.0, "Maximum number of pixels in the images of a request, in millions; more are rejected with status 413."
    )
    max_batch_size: int = option(8, "Maximum number of images of several requests per batch.")
    batch_delay_ms: float = option(5.0, "Maximum time in milliseconds to wait for images of other requests.")
    max_pending: int = option(32, "Maximum number of requests in progress; further ones are rejected with status 503.")
    request_timeout: float = option(30.0, "Timeout of a request in seconds; then the status is 408 or 504.")

    def __post_init__(self) -> None:
        """Checks the address and the limits."""
        super().__post_init__()
        check(bool(self.host.strip()), "host", self.host, "an address of this machine", "try 127.0.0.1")
        check(0 <= self.port < 2**16, "port", self.port, "0 to 65535", "0 takes any free port")
        for name, example in (("max_request_mb", 16), ("max_megapixels", 50), ("request_timeout", 30)):
            check(getattr(self, name) > 0, name, getattr(self, name), "more than 0", f"try {example}")
        for name, example in (("max_batch_size", 8), ("max_pending", 32)):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1", f"try {example}")
        delay = self.batch_delay_ms
        check(delay >= 0, "batch_delay_ms", delay, "0 or more", "0 does not wait")

    @property
    def is_local(self) -> bool:
        """Returns whether only this machine can reach the address."""
        return self.host in {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, kw_only=True)
class ServeOptions(DetectorOptions):
    """Serving."""

    server: ServerOptions
