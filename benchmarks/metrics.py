"""Benchmark of the engines of COCO metrics on 5,000 images with 36,000 objects and as many detections.

python benchmarks/metrics.py
"""

import numpy as np
from timing import median_seconds

from efficientdet_pipeline.evaluation.engines import coco_arrays
from efficientdet_pipeline.evaluation.instances import FoundBoxes, Instances, TruthBoxes
from efficientdet_pipeline.evaluation.matching import match

NUM_IMAGES, NUM_BOXES, NUM_CLASSES = 5_000, 36_000, 80
ROUNDS = 3


def synthetic_instances(seed: int = 0) -> Instances:
    """Returns as many boxes as COCO's validation set has, each with a nearby detection."""
    random = np.random.default_rng(seed)
    images = np.sort(random.integers(0, NUM_IMAGES, NUM_BOXES))
    boxes = np.concatenate([random.uniform(0, 400, (NUM_BOXES, 2)), random.uniform(5, 200, (NUM_BOXES, 2))], axis=1)
    found = boxes + random.normal(0, 5, boxes.shape)
    found[:, 2:] = np.abs(found[:, 2:])
    class_ids = random.integers(1, NUM_CLASSES + 1, NUM_BOXES)
    is_crowd = random.random(NUM_BOXES) < 0.01
    truth = TruthBoxes(images, class_ids, boxes, boxes[:, 2] * boxes[:, 3], is_crowd, np.zeros(NUM_BOXES, bool))
    found_ids = np.where(random.random(NUM_BOXES) < 0.8, class_ids, random.integers(1, NUM_CLASSES + 1, NUM_BOXES))
    detections = FoundBoxes(images, found_ids, found, random.random(NUM_BOXES))
    return Instances(tuple(map(str, range(NUM_IMAGES))), tuple(range(1, NUM_CLASSES + 1)), truth, detections)


def main() -> None:
    """Prints the time of each engine, and whether their metrics are equal."""
    instances = synthetic_instances()
    fast, reference = coco_arrays(instances, "hotcoco"), coco_arrays(instances, "pycocotools")
    is_equal = all(np.array_equal(one, other) for one, other in zip(fast, reference, strict=True))
    seconds = median_seconds(
        {
            "hotcoco": lambda: coco_arrays(instances, "hotcoco") and None,
            "pycocotools": lambda: coco_arrays(instances, "pycocotools") and None,
            "matching alone": lambda: match(instances) and None,
        },
        ROUNDS,
    )
    for name, value in seconds.items():
        print(f"{name:<15} {value:7.2f} s")
    print(f"ratio {seconds['pycocotools'] / seconds['hotcoco']:.0f}, arrays {'equal' if is_equal else 'DIFFER'}")


if __name__ == "__main__":
    main()
