"""Training over several processes: cluster description, liveness, synchronized stops."""

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
from typing import NoReturn

from efficientdet_pipeline.errors import ExitCode, OptionsError, PipelineError, StoppedError
from efficientdet_pipeline.json_fields import Fields

# TF_CONFIG is TensorFlow's format, also used by Kubeflow; CLUSTER_SPEC is Vertex AI's.
TF_CONFIG, CLUSTER_SPEC = "TF_CONFIG", "CLUSTER_SPEC"
_EXAMPLE = (
    'TF_CONFIG=\'{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}\''
)
# Parameter servers and evaluators do not take part in synchronous training.
_TRAINING_TASKS = ("chief", "master", "worker", "workerpool")


@dataclass(frozen=True)
class ClusterSpec:
    """The processes of a training, in order; the first is the chief."""

    addresses: tuple[str, ...]
    """host:port of each."""
    index: int
    """Index of this process."""

    @property
    def host(self) -> str:
        """Host name or address of the chief."""
        return self.addresses[0].rpartition(":")[0].strip("[]")


def cluster_spec(environ: Mapping[str, str]) -> ClusterSpec:
    """Returns the cluster that TF_CONFIG or Vertex AI's CLUSTER_SPEC describes.

    Raises:
      OptionsError: neither is set, or its value is invalid.
    """
    name = TF_CONFIG if environ.get(TF_CONFIG) else CLUSTER_SPEC
    text = environ.get(name, "")
    if not text:
        raise OptionsError(
            f"strategy=multiworker needs {TF_CONFIG} or {CLUSTER_SPEC} in the environment, with the addresses of the "
            f"processes. Received neither; try {_EXAMPLE}.",
            option="strategy",
        )
    try:
        return _parse_spec(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise OptionsError(
            f"{name} must be JSON with cluster and task, like {_EXAMPLE}. Received {text!r}: "
            f"{type(error).__name__} {error}.",
            option="strategy",
        ) from None


def _parse_spec(spec: Fields) -> ClusterSpec:
    cluster, task = spec["cluster"], spec["task"]
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise TypeError("cluster and task must be objects")
    # Alphabetical order is cluster order: chief, master, worker; workerpool0, workerpool1.
    kinds = sorted(kind for kind in cluster if kind.startswith(_TRAINING_TASKS) and cluster[kind])
    tasks = [(kind, index) for kind in kinds for index in range(len(cluster[kind]))]
    own = (task["type"], int(task.get("index", 0)))
    if own not in tasks:
        raise ValueError(f"the task {own[0]} {own[1]} is not among the cluster's {tasks}")
    addresses = [str(cluster[kind][index]) for kind, index in tasks]
    for address in addresses:
        if not address.rpartition(":")[2].isdigit():
            raise ValueError(f"{address!r} is not host:port")
    return ClusterSpec(tuple(addresses), tasks.index(own))


_TOKEN_BYTES = 8
_CONNECT_SECONDS = 60.0
_EXPLANATION_SECONDS = 5.0
"""Seconds to wait, after an error, for the message that a failure of another process caused it."""
# A machine that loses power does not close connections: after 10 s of silence, send 6 keep-alive probes, 5 s apart.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}
_READY, _GO_ON, _END, _STOPPED, _SIGNAL, _BYE = (b"ready", b"go on", b"end", b"stopped", b"signal", b"bye")


class TrainingOver(Exception):
    """The chief has ended the training before its last step."""


class ProcessGroup:
    """Connections among the processes of one training; does nothing for a single process.

    Each process exits with an error when another one fails.

    Args:
      index: of this process; 0 is the chief.
      count: number of processes.
    """

    def __init__(self, index: int = 0, count: int = 1):
        self.index, self.count = index, count
        self._connections: list[socket.socket] = []
        self._messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._is_ending = False

    @property
    def is_chief(self) -> bool:
        """Whether this process is the chief, which alone writes, evaluates and decides."""
        return self.index == 0

    def connect(self, host: str, broadcast: Callable[[list[int] | None], list[int]]) -> None:
        """Connects the chief with all other processes.

        Args:
          host: of the chief.
          broadcast: sends numbers from the chief to all; the others pass None.
        """
        if self.count == 1:
            return
        if self.is_chief:
            with socket.create_server(("", 0), backlog=self.count) as server:
                server.settimeout(_CONNECT_SECONDS)
                token = secrets.randbits(62)
                broadcast([server.getsockname()[1], token >> 31, token & (2**31 - 1)])
                while len(self._connections) < self.count - 1:
                    self._accept(server, token)
        else:
            port, high, low = broadcast(None)
            connection = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
            connection.sendall((high << 31 | low).to_bytes(_TOKEN_BYTES, "big"))
            self._add_connection(connection)

    def _accept(self, server: socket.socket, token: int) -> None:
        connection, _ = server.accept()
        connection.settimeout(_CONNECT_SECONDS)
        if connection.recv(_TOKEN_BYTES, socket.MSG_WAITALL) == token.to_bytes(_TOKEN_BYTES, "big"):
            self._add_connection(connection)
        else:
            connection.close()  # Not a process of this training.

    def _add_connection(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._connections.append(connection)
        threading.Thread(target=self._receive, args=(connection,), name="process-group", daemon=True).start()

    def barrier(self) -> None:
        """Blocks the other processes until the chief has prepared what all read."""
        if self.is_chief:
            self._send(_READY)
        elif self._messages.get() != _READY:
            _exit_process("The chief process exited before the training started.")

    def sync_stop(self, ends: bool) -> bool:
        """Returns the chief's decision whether to stop; the others wait for it."""
        if self.is_chief:
            self._send(_END if ends else _GO_ON)
            return ends
        return self._messages.get() == _END

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Runs a training; all processes leave together, after the chief has saved."""
        try:
            with contextlib.suppress(TrainingOver):
                yield
        except StoppedError as stop:
            if not self._connections:
                raise
            self._is_ending = True
            self._send(_STOPPED)
            _exit_process(str(stop), stop.exit_code)
        except Exception as error:
            if self._connections and not isinstance(error, PipelineError):
                time.sleep(_EXPLANATION_SECONDS)
            raise
        self._is_ending = True
        self._send(_BYE)
        if not self.is_chief:
            while self._messages.get() != _BYE:
                pass

    def forward_signal(self, number: int, frame: object) -> None:
        """Signal handler of all but the chief: forwards the signal to the chief, which saves and stops all."""
        self._send(_SIGNAL)

    def _send(self, message: bytes) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.sendall(message + b"\n")

    def _receive(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection.makefile("rb") as messages:
            for message in map(bytes.strip, messages):
                if message == _STOPPED:
                    _exit_process("The chief process received a stop request and has saved.")
                if message == _SIGNAL:
                    os.kill(os.getpid(), signal.SIGTERM)
                else:
                    self._messages.put(message)
                if message == _BYE:
                    return
        if not self._is_ending:
            who = "A process" if self.is_chief else "The chief process"
            _exit_process(f"{who} of this {self.count}-process training has exited.")


def _exit_process(what: str, code: ExitCode = ExitCode.TRY_AGAIN) -> NoReturn:
    # The main thread and JAX's shutdown may both be waiting for the failed process.
    os.write(2, f"error: {what} Restart all processes: they resume from the last checkpoint.\n".encode())
    os._exit(int(code))
