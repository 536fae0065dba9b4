"""How much objects of each class weigh in the loss."""

import difflib
from collections.abc import Mapping

import numpy as np
from absl import logging

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.dataset_stats import read_shard_stats
from efficientdet_pipeline.errors import OptionsError

AUTO = "auto"
MOST = 10.0
"""What `auto` gives a class at most: a handful of objects must not steer the training."""


def class_weights(text: str, shards: Shards, num_classes: int) -> tuple[float, ...]:
    """Returns the weight of each class by its index, from the option's text; empty text gives no weights.

    Args:
      text: NAME=WEIGHT pairs separated by commas, or auto.
      shards: whose labels are named, and counted for auto.
      num_classes: of the network.

    Raises:
      OptionsError: an unknown class, or a weight that is no number above 0.
    """
    if not text:
        return ()
    given = _balanced(shards) if text.strip() == AUTO else _read(text, shards.label_map)
    known = {class_id: shards.label_map.get(class_id, str(class_id)) for class_id in given}
    logging.info("class_weights: %s.", ", ".join(f"{known[key]} {value:.3g}" for key, value in given.items()))
    return tuple(given.get(class_id, 1.0) for class_id in range(1, num_classes + 1))


def _balanced(shards: Shards) -> dict[int, float]:
    """Returns the square root of how many times fewer objects a class has than the average one."""
    counts = np.bincount(read_shard_stats(shards.train).class_ids, minlength=2)
    present = np.flatnonzero(counts[1:]) + 1
    mean = counts[present].mean() if len(present) else 1.0
    return {int(class_id): float(min(MOST, (mean / counts[class_id]) ** 0.5)) for class_id in present}


def _read(text: str, label_map: Mapping[int, str]) -> dict[int, float]:
    ids = {name: class_id for class_id, name in label_map.items()}
    weights = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (part.strip() for part in pair.rpartition("="))
        if name not in ids:
            near = difflib.get_close_matches(name, ids, n=1, cutoff=0.4)
            advice = f"did you mean {near[0]}?" if near else f"the classes are {', '.join(ids)}."
            raise OptionsError(
                f"class_weights must name classes of the data, as Platelets=4. Received {pair!r}; {advice}",
                option="class_weights",
            )
        try:
            weights[ids[name]] = float(number)
        except ValueError:
            weights[ids[name]] = 0.0
        if not 0 < weights[ids[name]] < float("inf"):
            raise OptionsError(
                f"class_weights must be numbers above 0. Received {pair!r}; try {name}=2.", option="class_weights"
            )
    return weights
