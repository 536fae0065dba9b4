"""What is done where step after step gives no finite loss: go back once, then give up and say why.

Where to go back to is the newest good checkpoint, and checkpoints are made by
time; only with save_freq=epoch or a number of steps does a run that was killed
on the way go back to the very same one.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras import ops

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.training import checkpoints, state
from efficientdet_pipeline.training.learning import RunLearner
from tfrmod import atomic

_BATCHES_TOLD = 10
_PHOTOS_NAMED = 8


def last_good(place: Path) -> tuple[state.State, dict[str, Any]] | None:
    """Returns state and marker of the newest checkpoint that was written while all was well, or None.

    Its numbers are finite, and the step before it was no bad one.
    """
    for checkpoint in checkpoints.find_checkpoints(place):
        arrays = checkpoints.read_arrays(checkpoint / checkpoints.STATE)
        if state.is_finite(arrays) and not arrays.get("run/bad_steps", 0):
            return arrays, checkpoints.read_marker(checkpoint)
    return None


def was_rescued(model: RunLearner) -> bool:
    """Returns whether the run has gone back once already; its learning rate tells, and is part of its state."""
    return _learning_rate_factor(model) < 1.0


def halve_learning_rate(model: RunLearner) -> None:
    """Sets the learning rate to a half for the rest of the run, and begins to count bad steps anew."""
    model.learning_rate_factor.assign(_learning_rate_factor(model) / 2)
    model.bad_steps.assign(0)


def report(
    model: RunLearner, steps: Sequence[int], photos_of: Callable[[int], list[dict[str, Any]]] | None, path: Path
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
    atomic.write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    photos = batches[-1]["photos"]
    return DataError(
        f"Every step must have a finite loss and gradient. The last {len(steps)}, up to step {steps[-1]}, had none, "
        f"with the learning rate halved to {rate:.2g} before. Photos of the last batch: {_names(photos)}"
        f"{_about_boxes(photos)}. All of them are in {path}. Weights are as they were before these steps; look at "
        "these photos by --mode=doctor, try a smaller --learning_rate in a new run, or --max_bad_steps=0 to go on."
    )


def _learning_rate_factor(model: RunLearner) -> float:
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
