"""COCO metrics of any predictor on images in memory or on disk, and stratified subsets of a data set."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from efficientdet_pipeline.evaluation.coco import coco_metrics
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.predictor import Predictor, detect_image
from efficientdet_pipeline.inference.results import ImageDetections

LabeledImage = tuple[TruthImage, Callable[[], np.ndarray]]
"""Ground truth of an image, and a function that reads its pixels: uint8 RGB (h, w, 3)."""


def evaluate_predictor(
    predictor: Predictor,
    samples: Iterable[LabeledImage],
    label_map: Mapping[int, str],
) -> dict[str, Any]:
    """Returns `coco_metrics` of a predictor.

    Args:
      samples: the evaluated images, from `shard_samples.validation_samples`.
      label_map: class id to name.
    """
    truth, detected = [], []
    for each, read in samples:
        found = detect_image(predictor, read())
        truth.append(each)
        detected.append(ImageDetections(found.boxes, found.scores, found.class_ids, source_id=each.source_id))
    return coco_metrics(truth, detected, label_map)


def stratified_subset(images: Sequence[TruthImage], count: int) -> list[int]:
    """Returns the indices of about `count` images that contain all classes, rare ones first; deterministic.

    Repeatedly, the class with the fewest objects among the chosen images gets one
    more image; images without objects are chosen in proportion.

    Args:
      images: of the data set, in its order.
      count: number of images; all if there are fewer.
    """
    if count >= len(images):
        return list(range(len(images)))
    classes = [Counter(np.asarray(each.class_ids).tolist()) for each in images]
    empty = [place for place, each in enumerate(classes) if not each]
    chosen = set(_spread(empty, round(count * len(empty) / len(images))))
    waiting = {name: [place for place, each in enumerate(classes) if name in each] for name in set().union(*classes)}
    waiting = {name: _spread(places, len(places)) for name, places in waiting.items()}
    seen: Counter[int] = Counter()
    while len(chosen) < count and any(waiting.values()):
        name = min((name for name, places in waiting.items() if places), key=lambda name: (seen[name], name))
        place = waiting[name].pop(0)
        if place not in chosen:
            chosen.add(place)
            seen.update(classes[place])
    return sorted(chosen)


def _spread(places: Sequence[int], count: int) -> list[int]:
    """Returns indices spread over all of them; the order is fixed and neighbours are far apart."""
    order = np.random.default_rng(0).permutation(len(places))
    return [places[number] for number in order[:count]]
