"""Class weights in the loss."""

import difflib
from collections.abc import Mapping

import numpy as np
from absl import logging

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.dataset_stats import read_shard_stats
from efficientdet_pipeline.errors import OptionsError

AUTO = "auto"
MOST = 10.0
"""Maximum weight of `auto`, so that a few objects do not dominate the training."""


def class_weights(text: str, shards: Shards, num_classes: int) -> tuple[float, ...]:
    """Returns the weight of each class by its index, from the option's text; empty text gives no weights.

    Args:
      text: comma-separated NAME=WEIGHT pairs, or auto.
      shards: with the class names, and for auto the number of objects.
      num_classes: of the network.

    Raises:
      OptionsError: a class is unknown, or a weight is not a positive number.
    """
    if not text:
        return ()
    given = _balanced(shards) if text.strip() == AUTO else _read(text, shards.label_map)
    known = {class_id: shards.label_map.get(class_id, str(class_id)) for class_id in given}
    logging.info("class_weights: %s.", ", ".join(f"{known[key]} {value:.3g}" for key, value in given.items()))
    return tuple(given.get(class_id, 1.0) for class_id in range(1, num_classes + 1))


def _balanced(shards: Shards) -> dict[int, float]:
    """Returns for each class the square root of the mean number of objects divided by its number."""
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
