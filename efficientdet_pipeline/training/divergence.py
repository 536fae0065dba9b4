"""Divergence: loss spikes, non-finite steps, and recovery from them."""

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from keras import ops

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.training import checkpoint_io, train_state
from efficientdet_pipeline.training.train_step import TrainStepModel
from tfrmod import fileio

SPIKE = 4.0
"""Times the usual loss."""
_WINDOW = 50
_FEWEST = 20
# A run that diverges must not fill the disk.
_MOST = 200


class LossSpikeLog:
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
            fileio.write_file(self.path, "".join(f"{line}\n" for line in kept))

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


_BATCHES_TOLD = 10
_PHOTOS_NAMED = 8


def last_good(place: Path) -> tuple[train_state.State, dict[str, Any]] | None:
    """Returns state and marker of the newest checkpoint that was written while all was well, or None.

    Its numbers are finite, and the step before it was no bad one.
    """
    for checkpoint in checkpoint_io.find_checkpoints(place):
        arrays = checkpoint_io.read_arrays(checkpoint / checkpoint_io.STATE)
        if train_state.is_finite(arrays) and not arrays.get("run/bad_steps", 0):
            return arrays, checkpoint_io.read_marker(checkpoint)
    return None


def was_rescued(model: TrainStepModel) -> bool:
    """Returns whether the run has gone back once already; its learning rate tells, and is part of its state."""
    return _learning_rate_factor(model) < 1.0


def halve_learning_rate(model: TrainStepModel) -> None:
    """Sets the learning rate to a half for the rest of the run, and begins to count bad steps anew."""
    model.learning_rate_factor.assign(_learning_rate_factor(model) / 2)
    model.bad_steps.assign(0)


def bad_steps_error(
    model: TrainStepModel, steps: Sequence[int], photos_of: Callable[[int], list[dict[str, Any]]] | None, path: Path
) -> DataError:
    """Writes down which photos the bad steps were given, and returns the error that ends the run.

    Args:
      steps: the bad ones, in a row.
    """
    told = steps[-_BATCHES_TOLD:]
    batches: list[dict[str, Any]] = [
        {"step": step, "photos": photos_of(step) if photos_of is not None else []} for step in told
    ]
    rate = model.last_learning_rate()
    content = {
        "bad_steps_in_a_row": len(steps),
        "bad_steps_total": int(ops.convert_to_numpy(model.bad_steps_total)),
        "learning_rate": rate,
        "batches": batches,
    }
    fileio.write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    photos = batches[-1]["photos"]
    return DataError(
        f"Every step must have a finite loss and gradient. The last {len(steps)}, up to step {steps[-1]}, had none, "
        f"with the learning rate halved to {rate:.2g} before. Photos of the last batch: {_names(photos)}"
        f"{_about_boxes(photos)}. All of them are in {path}. Weights are as they were before these steps; look at "
        "these photos by --mode=doctor, try a smaller --learning_rate in a new run, or --max_bad_steps=0 to go on."
    )


def _learning_rate_factor(model: TrainStepModel) -> float:
    return float(ops.convert_to_numpy(model.learning_rate_factor))


def _names(photos: Sequence[dict[str, Any]]) -> str:
    names = [photo["photo"] for photo in photos]
    more = len(names) - _PHOTOS_NAMED
    return ", ".join(names[:_PHOTOS_NAMED]) + (f" and {more} more" if more > 0 else "") if names else "unknown"


def _about_boxes(photos: Sequence[dict[str, Any]]) -> str:
    boxes = [photo["boxes"] for photo in photos if photo["boxes"]["count"]]
    if not boxes:
        return ""
    shortest, longest = min(each["shortest_side"] for each in boxes), max(each["longest_side"] for each in boxes)
    outside = sum(each["outside"] for each in boxes)
    return (
        f" ({sum(each['count'] for each in boxes)} boxes with sides of {shortest:.1f} to {longest:.1f} pixels, "
        f"{outside} reach outside their photo)"
    )
