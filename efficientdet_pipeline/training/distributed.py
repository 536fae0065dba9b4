"""Training over several processes: cluster description, liveness, synchronised stops."""

import contextlib
import json
import os
import queue
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from efficientdet_pipeline.errors import ExitCode, OptionsError, PipelineError, StoppedError

# TensorFlow's word for it, which Kubeflow and others speak; Vertex AI's own.
TF_CONFIG, CLUSTER_SPEC = "TF_CONFIG", "CLUSTER_SPEC"
_EXAMPLE = (
    'TF_CONFIG=\'{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}\''
)
# Parameter servers and evaluators take no part in a synchronous training.
_TAKE_PART = ("chief", "master", "worker", "workerpool")


@dataclass(frozen=True)
class ClusterSpec:
    """The processes of a training, in their order; the first one leads."""

    addresses: tuple[str, ...]
    """host:port of each."""
    index: int
    """Of this process."""

    @property
    def host(self) -> str:
        """Name or address of the leading process's machine."""
        return self.addresses[0].rpartition(":")[0].strip("[]")


def cluster_spec(environ: Mapping[str, str]) -> ClusterSpec:
    """Returns the processes that TF_CONFIG or Vertex's CLUSTER_SPEC names.

    Raises:
      OptionsError: neither is there, or what is there makes no sense.
    """
    name = TF_CONFIG if environ.get(TF_CONFIG) else CLUSTER_SPEC
    text = environ.get(name, "")
    if not text:
        raise OptionsError(
            f"strategy=multiworker needs {TF_CONFIG} or {CLUSTER_SPEC} in the environment, which say where the other "
            f"processes are. Received neither; try {_EXAMPLE}.",
            option="strategy",
        )
    try:
        return _read(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise OptionsError(
            f"{name} must be JSON with cluster and task, like {_EXAMPLE}. Received {text!r}: "
            f"{type(error).__name__} {error}.",
            option="strategy",
        ) from None


def _read(spec: Any) -> ClusterSpec:
    cluster, task = spec["cluster"], spec["task"]
    # Names sort as they lead: chief, master, worker; workerpool0, workerpool1.
    kinds = sorted(kind for kind in cluster if kind.startswith(_TAKE_PART) and cluster[kind])
    places = [(kind, index) for kind in kinds for index in range(len(cluster[kind]))]
    own = (task["type"], int(task.get("index", 0)))
    if own not in places:
        raise ValueError(f"the task {own[0]} {own[1]} is none of the cluster's {places}")
    addresses = [str(cluster[kind][index]) for kind, index in places]
    for address in addresses:
        if not address.rpartition(":")[2].isdigit():
            raise ValueError(f"{address!r} is no host:port")
    return ClusterSpec(tuple(addresses), places.index(own))


_GREETING_BYTES = 8
_CONNECT_SECONDS = 60.0
_EXPLANATION_SECONDS = 5.0
"""How long an error waits for the line to say that it comes of a death elsewhere."""
# A machine that loses power closes nothing: after 10 s of silence it is asked, every 5 s, six times.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}
_READY, _GO_ON, _END, _STOPPED, _SIGNAL, _BYE = (b"ready", b"go on", b"end", b"stopped", b"signal", b"bye")


class TrainingOver(Exception):
    """The leading process has ended the training before its last step."""


class ProcessGroup:
    """The processes of one training, seen from one of them; alone, it does nothing.

    Args:
      index: of this process; 0 leads.
      count: of all.
    """

    def __init__(self, index: int = 0, count: int = 1):
        self.index, self.count = index, count
        self._lines: list[socket.socket] = []
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._is_ending = False

    @property
    def is_chief(self) -> bool:
        """Whether this process leads: it alone writes, evaluates and decides."""
        return self.index == 0

    def gather(self, host: str, tell_all: Callable[[list[int] | None], list[int]]) -> None:
        """Ties the lines.

        Args:
          host: of the leading process.
          tell_all: hands numbers from the leading process, which gives them, to all.
        """
        if self.count == 1:
            return
        if self.is_chief:
            with socket.create_server(("", 0), backlog=self.count) as server:
                server.settimeout(_CONNECT_SECONDS)
                greeting = secrets.randbits(62)
                tell_all([server.getsockname()[1], greeting >> 31, greeting & (2**31 - 1)])
                while len(self._lines) < self.count - 1:
                    self._welcome(server, greeting)
        else:
            port, high, low = tell_all(None)
            line = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
            line.sendall((high << 31 | low).to_bytes(_GREETING_BYTES, "big"))
            self._tie(line)

    def _welcome(self, server: socket.socket, greeting: int) -> None:
        line, _ = server.accept()
        line.settimeout(_CONNECT_SECONDS)
        if line.recv(_GREETING_BYTES, socket.MSG_WAITALL) == greeting.to_bytes(_GREETING_BYTES, "big"):
            self._tie(line)
        else:
            line.close()  # A stranger's.

    def _tie(self, line: socket.socket) -> None:
        line.settimeout(None)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._lines.append(line)
        threading.Thread(target=self._listen, args=(line,), name="company", daemon=True).start()

    def ready(self) -> None:
        """Holds the others until the leading process has prepared what all read."""
        if self.is_chief:
            self._say(_READY)
        elif self._heard.get() != _READY:
            _leave("The leading process of this training ended before it began.")

    def agreed(self, ends: bool) -> bool:
        """Returns what the leading process decides about the end; the others wait for its word."""
        if self.is_chief:
            self._say(_END if ends else _GO_ON)
            return ends
        return self._heard.get() == _END

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Ends a training in order: where the leading process has ended it, and has saved."""
        try:
            with contextlib.suppress(TrainingOver):
                yield
        except StoppedError as stop:
            if not self._lines:
                raise
            self._is_ending = True
            self._say(_STOPPED)
            _leave(str(stop), stop.exit_code)
        except Exception as error:
            if self._lines and not isinstance(error, PipelineError):
                time.sleep(_EXPLANATION_SECONDS)
            raise
        self._is_ending = True
        self._say(_BYE)
        if not self.is_chief:
            while self._heard.get() != _BYE:
                pass

    def forward(self, number: int, frame: object) -> None:
        """Is the signal handler of all but the leading process, which saves and then ends all."""
        self._say(_SIGNAL)

    def _say(self, word: bytes) -> None:
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.sendall(word + b"\n")

    def _listen(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError), line.makefile("rb") as words:
            for word in map(bytes.strip, words):
                if word == _STOPPED:
                    _leave("The leading process was asked to stop and has saved.")
                if word == _SIGNAL:
                    os.kill(os.getpid(), signal.SIGTERM)
                else:
                    self._heard.put(word)
                if word == _BYE:
                    return
        if not self._is_ending:
            who = "A process" if self.is_chief else "The leading process"
            _leave(f"{who} of the {self.count} that share this training is gone.")


def _leave(what: str, code: ExitCode = ExitCode.TRY_AGAIN) -> NoReturn:
    # The main thread may wait for the dead, and so may JAX's own ending: neither can be relied on.
    os.write(2, f"error: {what} Start all of them again: they continue from the last checkpoint.\n".encode())
    os._exit(int(code))
