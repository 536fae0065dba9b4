"""Divergence: loss spikes, non-finite steps, and recovery from them."""

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from keras import ops

from efficientdet_pipeline.data.image_descriptions import BatchImage
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.training import checkpoint_io, train_state
from efficientdet_pipeline.training.train_step import TrainStepModel
from tfrmod import fileio

SPIKE_FACTOR = 4.0
"""A loss above this multiple of the recent median is a spike."""
_WINDOW = 50
_MIN_LOSSES = 20
# Limits the file of a diverging run.
_MAX_LINES = 200


class LossSpikeLog:
    """Log of loss spikes and bad steps, incidents.jsonl; with steps_per_execution, of each execution's last step."""

    def __init__(self, path: Path, *, batch_size: int, steps_per_epoch: int):
        self.path, self.batch_size, self.steps_per_epoch = path, batch_size, steps_per_epoch
        self._recent_losses: deque[float] = deque(maxlen=_WINDOW)
        self._written = 0

    def truncate_after_step(self, step: int) -> None:
        """Opens an existing file, removing lines of steps after `step`, which run again."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        self._written = len(kept)
        if kept != lines:
            fileio.write_file(self.path, "".join(f"{line}\n" for line in kept))

    def update(self, step: int, logs: Mapping[str, float]) -> None:
        """Records the loss of step number `step` (1-based)."""
        usual = median(self._recent_losses) if self._recent_losses else None
        loss = logs.get("step_loss", math.nan)
        if logs.get("bad_steps", 0):
            self._write("bad", step, loss=None, usual=usual)
        elif math.isfinite(loss):
            if usual is not None and len(self._recent_losses) >= _MIN_LOSSES and loss > SPIKE_FACTOR * usual:
                self._write("spike", step, loss=loss, usual=usual)
            self._recent_losses.append(loss)

    def _write(self, kind: str, step: int, *, loss: float | None, usual: float | None) -> None:
        if self._written >= _MAX_LINES:
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
        return math.inf  # Truncated by an interruption.


_BATCHES_REPORTED = 10
_IMAGES_NAMED = 8


def last_good(directory: Path) -> tuple[train_state.State, dict[str, object]] | None:
    """Returns state and marker of the newest checkpoint from before the divergence, or None.

    Its values are finite, and it does not follow a bad step.
    """
    for checkpoint in checkpoint_io.find_checkpoints(directory):
        arrays = checkpoint_io.read_arrays(checkpoint / checkpoint_io.STATE)
        if train_state.is_finite(arrays) and not arrays.get("run/bad_steps", 0):
            return arrays, checkpoint_io.read_marker(checkpoint)
    return None


def has_rewound(model: TrainStepModel) -> bool:
    """Returns whether the run has rewound before: the reduced learning rate is part of its state."""
    return _learning_rate_factor(model) < 1.0


def halve_learning_rate(model: TrainStepModel) -> None:
    """Halves the learning rate for the rest of the run and resets the count of bad steps."""
    model.learning_rate_factor.assign(_learning_rate_factor(model) / 2)
    model.bad_steps.assign(0)


def bad_steps_error(
    model: TrainStepModel, steps: Sequence[int], images_of: Callable[[int], list[BatchImage]] | None, path: Path
) -> DataError:
    """Writes a report of the images in the bad steps, and returns the error that ends the run.

    Args:
      steps: consecutive bad steps.
    """
    reported = steps[-_BATCHES_REPORTED:]
    batches = [(step, images_of(step) if images_of is not None else []) for step in reported]
    rate = model.last_learning_rate()
    content = {
        "bad_steps_in_a_row": len(steps),
        "bad_steps_total": int(ops.convert_to_numpy(model.bad_steps_total)),
        "learning_rate": rate,
        "batches": [{"step": step, "images": images} for step, images in batches],
    }
    fileio.write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    _, images = batches[-1]
    return DataError(
        f"The loss or gradient of the last {len(steps)} steps, up to step {steps[-1]}, is not finite, "
        f"after the learning rate was halved to {rate:.2g}. Images of the last batch: {_names(images)}"
        f"{_about_boxes(images)}. The report is {path}. Weights are those from before these steps. Check "
        "these images with --mode=doctor, try a smaller --learning_rate in a new run, or --max_bad_steps=0 to continue."
    )


def _learning_rate_factor(model: TrainStepModel) -> float:
    return float(ops.convert_to_numpy(model.learning_rate_factor))


def _names(images: Sequence[BatchImage]) -> str:
    names = [each["image"] for each in images]
    more = len(names) - _IMAGES_NAMED
    return ", ".join(names[:_IMAGES_NAMED]) + (f" and {more} more" if more > 0 else "") if names else "unknown"


def _about_boxes(images: Sequence[BatchImage]) -> str:
    boxes = [each["boxes"] for each in images if each["boxes"]["count"]]
    if not boxes:
        return ""
    shortest, longest = min(each["shortest_side"] for each in boxes), max(each["longest_side"] for each in boxes)
    outside = sum(each["outside"] for each in boxes)
    return (
        f" ({sum(each['count'] for each in boxes)} boxes with sides of {shortest:.1f} to {longest:.1f} pixels, "
        f"{outside} extend beyond their image)"
    )
