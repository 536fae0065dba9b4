"""Watchdog that reports when the OOM killer ends a training.

    python3 -m efficientdet_pipeline.training.oom_watchdog < what.json

A small process beside the training. Its input is one line of JSON with the message, then an end marker; if the input
ends without the marker, the training was killed.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from efficientdet_pipeline.system import free_memory
from efficientdet_pipeline.training import batch_probe
from efficientdet_pipeline.training.signals import on_stop_request

_FINISHED = b"finished"
_SECONDS = 0.5
_SCARCE_SHARE = 0.3
"""Share of the initially free memory below which a kill counts as out of memory."""


@contextlib.contextmanager
def oom_watchdog(message: str, probe: dict[str, object] | None = None) -> Iterator[None]:
    """Watches this process while the body runs; a child process prints a message if this one is killed.

    Args:
      message: error message to print.
      probe: a `batch_probe.Probe` as a dictionary; if memory was short, the message is followed by a search for a
        batch size.
    """
    inlet, outlet = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=inlet,
        # Ctrl-C is meant for the training, not for the watchdog.
        start_new_session=True,
    )
    os.close(inlet)
    what = {"message": message, "probe": probe}
    with os.fdopen(outlet, "wb", buffering=0) as pipe:

        def write(data: bytes) -> None:
            # The training continues if the watchdog has died.
            with contextlib.suppress(OSError):
                pipe.write(data)

        try:
            # After a stop request the process may exit without the lines below, or be killed if it is slow.
            with on_stop_request(lambda: write(_FINISHED)):
                write(json.dumps(what).encode() + b"\n")
                yield
        finally:
            write(_FINISHED)
            process.wait()


def _kills() -> int:
    """Returns how many processes the OOM killer of this system has killed."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def main(descriptor: int = 0) -> None:
    """Watches; prints the message if the input (a file descriptor) ends without the end marker."""
    with io.FileIO(descriptor) as pipe:
        what = json.loads(pipe.readline() or b"{}")
        kills, at_first = _kills(), free_memory()
        least = at_first
        # A thread reads, because Windows has no `select` for pipes.
        finished: list[bytes] = []
        reader = threading.Thread(target=lambda: finished.append(pipe.read(len(_FINISHED)) or b""), daemon=True)
        reader.start()
        while reader.is_alive():
            least = min(least, free_memory())
            reader.join(_SECONDS)
        if any(finished) or not what:
            return
    is_scarce = _kills() > kills or least < _SCARCE_SHARE * at_first
    doubt = "" if is_scarce else "The training was killed. Unless a user did so: "
    print(f"error: {doubt}{what['message']}", file=sys.stderr, flush=True)
    if is_scarce and what["probe"]:
        sys.exit(subprocess.run([sys.executable, *batch_probe.deferred_command(what["probe"])], check=False).returncode)


if __name__ == "__main__":
    main()
