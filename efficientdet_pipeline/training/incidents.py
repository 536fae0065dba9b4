"""Steps that stand out: a loss far above the usual one, or none at all. Written down, one JSON object a line.

The doctor of the data reads them and names the photos of these steps.
"""

import json
import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from tfrmod import atomic

SPIKE = 4.0
"""Times the usual loss."""
_WINDOW = 50
_FEWEST = 20
# A run that diverges must not fill the disk.
_MOST = 200


class Incidents:
    """The run's incidents.jsonl; of several steps in one execution, the last is looked at."""

    def __init__(self, path: Path, *, batch_size: int, steps_per_epoch: int):
        self.path, self.batch_size, self.steps_per_epoch = path, batch_size, steps_per_epoch
        self._usual: deque[float] = deque(maxlen=_WINDOW)
        self._written = 0

    def forget_after(self, step: int) -> None:
        """Takes up an existing file, without what was written of later steps than `step`, which come again."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        self._written = len(kept)
        if kept != lines:
            atomic.write_file(self.path, "".join(f"{line}\n" for line in kept))

    def look(self, step: int, logs: Mapping[str, float]) -> None:
        """Looks at the loss of step number `step` (1-based)."""
        usual = median(self._usual) if self._usual else None
        loss = logs.get("step_loss", math.nan)
        if logs.get("bad_steps", 0):
            self._write("bad", step, loss=None, usual=usual)
        elif math.isfinite(loss):
            if usual is not None and len(self._usual) >= _FEWEST and loss > SPIKE * usual:
                self._write("spike", step, loss=loss, usual=usual)
            self._usual.append(loss)

    def _write(self, kind: str, step: int, *, loss: float | None, usual: float | None) -> None:
        if self._written >= _MOST:
            return
        self._written += 1
        line = {
            "step": step,
            "epoch": (step - 1) // self.steps_per_epoch + 1,
            "kind": kind,
            "loss": loss,
            "usual": usual,
            "position": (step - 1) * self.batch_size,
            "batch_size": self.batch_size,
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # Cut short by a kill.
