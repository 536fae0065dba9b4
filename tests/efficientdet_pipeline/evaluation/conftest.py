"""Random evaluations that cover all cases of COCO's rules."""

from collections.abc import Callable

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections


@pytest.fixture(scope="session")
def fuzzed() -> Callable[[int], Instances]:
    """Returns a function of a seed: crowds, ties, empty images, equal boxes, other classes, more than 100 boxes."""
    return fuzzed_instances


def fuzzed_instances(seed: int) -> Instances:
    random = np.random.default_rng(seed)
    num_classes = int(random.integers(1, 5))
    truth, detected = [], []
    for number in range(int(random.integers(1, 9))):
        image = _truth(random, str(number), num_classes)
        truth.append(image)
        if random.random() < 0.9:
            detected.append(_detected(random, image, num_classes))
    return flatten(truth, detected, {class_id: str(class_id) for class_id in range(1, num_classes + 1)})


def _truth(random: np.random.Generator, source_id: str, num_classes: int) -> TruthImage:
    count = int(random.integers(0, 9))
    corners = random.uniform(0, 400, (count, 2))
    sides = random.choice([8, 20, 32, 60, 96, 150, 250], (count, 2)) * random.uniform(0.7, 1.3, (count, 2))
    if random.random() < 0.5:
        corners, sides = np.round(corners), np.round(sides)
    areas = np.prod(sides, axis=1) * random.choice([1.0, 0.6], count)
    return TruthImage(
        source_id,
        np.concatenate([corners, corners + sides], axis=1),
        random.integers(1, num_classes + 1, count),
        random.random(count) < 0.15,
        areas,
        is_difficult=random.random(count) < 0.2,
    )


def _detected(random: np.random.Generator, image: TruthImage, num_classes: int) -> ImageDetections:
    rows = np.repeat(np.arange(len(image.boxes)), random.integers(0, 4, len(image.boxes)))
    sides = np.tile(image.boxes[rows, 2:] - image.boxes[rows, :2], 2)
    near = image.boxes[rows] + random.normal(0, 1, (len(rows), 4)) * sides * random.choice(
        [0, 0.02, 0.1], (len(rows), 1)
    )
    num_others = int(random.integers(0, 4) if random.random() < 0.9 else random.integers(90, 130))
    corners = random.uniform(0, 400, (num_others, 2))
    others = np.concatenate([corners, corners + random.uniform(0, 200, (num_others, 2))], axis=1)
    boxes = np.concatenate([near, others])
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    # One class more than in the data, because the detector may have classes that the data lack.
    class_ids = random.integers(1, num_classes + 2, len(boxes))
    class_ids[: len(rows)] = np.where(random.random(len(rows)) < 0.8, image.class_ids[rows], class_ids[: len(rows)])
    scores = random.uniform(0, 1, len(boxes))
    if random.random() < 0.5:
        scores = np.round(scores, 1)
    return ImageDetections(boxes, scores.astype(np.float32), class_ids, source_id=image.source_id)
