"""A last word where the training process was killed; out of memory, a system kills without one.

    python3 -m efficientdet_pipeline.training.oom_watchdog < what.json

A light process beside the training. Its input is one line of JSON, what to say, and then a farewell; where the input
ends without that, the training was killed.
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
from typing import Any

from efficientdet_pipeline.system import free_memory
from efficientdet_pipeline.training import batch_probe
from efficientdet_pipeline.training.signals import on_stop_request

_FAREWELL = b"farewell"
_SECONDS = 0.5
_SCARCE = 0.3
"""Share of the memory that was free at first; with less than that left, its end is what killed the training."""


@contextlib.contextmanager
def oom_watchdog(sentence: str, probe: dict[str, Any] | None = None) -> Iterator[None]:
    """Has a process look on while the body runs, and speak if this one is killed in it.

    Args:
      sentence: what to say then.
      probe: of `probing`; where memory was scarce, the batch that fits is looked for behind the sentence.
    """
    inlet, outlet = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=inlet,
        # Ctrl-C is meant for the training.
        start_new_session=True,
    )
    os.close(inlet)
    what = {"sentence": sentence, "probe": probe}
    with os.fdopen(outlet, "wb", buffering=0) as pipe:

        def write(words: bytes) -> None:
            # A witness that died says nothing, and the training goes on.
            with contextlib.suppress(OSError):
                pipe.write(words)

        try:
            # Whoever is asked to stop may end without the lines below, or be killed for being slow: not for memory.
            with on_stop_request(lambda: write(_FAREWELL)):
                write(json.dumps(what).encode() + b"\n")
                yield
        finally:
            write(_FAREWELL)
            process.wait()


def _kills() -> int:
    """Returns how many processes this system has killed for want of memory."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def main(descriptor: int = 0) -> None:
    """Looks on; speaks where the input, an open file, ends without a farewell."""
    with io.FileIO(descriptor) as pipe:
        what = json.loads(pipe.readline() or b"{}")
        kills, at_first = _kills(), free_memory()
        least = at_first
        # A thread reads, since Windows has no `select` for pipes.
        farewells: list[bytes] = []
        reader = threading.Thread(target=lambda: farewells.append(pipe.read(len(_FAREWELL)) or b""), daemon=True)
        reader.start()
        while reader.is_alive():
            least = min(least, free_memory())
            reader.join(_SECONDS)
        if any(farewells) or not what:
            return
    is_scarce = _kills() > kills or least < _SCARCE * at_first
    doubt = "" if is_scarce else "The training was killed. Unless somebody did so: "
    print(f"error: {doubt}{what['sentence']}", file=sys.stderr, flush=True)
    if is_scarce and what["probe"]:
        sys.exit(subprocess.run([sys.executable, *batch_probe.later(what["probe"])], check=False).returncode)


if __name__ == "__main__":
    main()
