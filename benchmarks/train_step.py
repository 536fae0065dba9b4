"""Benchmark of the training step against a plain Keras step, interleaved in one process.

The yardstick is the plain Keras step of EfficientNetB0(weights=None, classes=10)
at the same size and batch. google/automl's D0 step at 256 px, batch 8 on two CPU
cores takes 0.96 of it.

    python3 benchmarks/train_step.py --output=train_step.json
"""

import argparse
import json
import os
import resource
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import efficientdet
import keras
import numpy as np
import tensorflow as tf
from efficientdet.config import DetectorConfig
from efficientdet.types import GroundTruth
from timing import median_seconds

from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import strategy
from efficientdet_pipeline.training.build import build_training_model
from efficientdet_pipeline.training.train_step import TrainStepModel


def yardstick(size: int, batch: int) -> Callable[[], None]:
    """Returns a plain Keras step."""
    model = keras.applications.EfficientNetB0(weights=None, classes=10, input_shape=(size, size, 3))
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    images = np.random.default_rng(0).uniform(0, 255, (batch, size, size, 3)).astype("float32")
    classes = np.zeros((batch,), "int32")
    return step_of(model, (images, classes))


def detector_step(
    name: str, size: int, batch: int, num_classes: int, *, precision: str = "", **network: object
) -> Callable[[], None]:
    """Returns a whole training step of a detector: matching, losses, clipping, momentum and averaging."""
    config = efficientdet.get_config(name, image_size=size, num_classes=num_classes, **network)
    return step_of(training_model(config, batch, precision=precision), random_batch(size, batch, num_classes))


def training_model(config: DetectorConfig, batch: int, **given: str) -> TrainStepModel:
    """Returns the training model of a detector; `given` are options of a training."""
    options = compose(TrainOptions, url_dataset="none", batch_size=batch, **given)
    strategy.build_strategy(options)
    return build_training_model(
        efficientdet.build_model(config), detection_objective(config, options.optimizer), options, steps_per_epoch=100
    )


def random_batch(size: int, batch: int, num_classes: int) -> tuple[np.ndarray, GroundTruth]:
    """Returns noise images with 15 random boxes each."""
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, size, size, 3)).astype("float32")
    corners = random.uniform(0, size * 0.7, (batch, 100, 2))
    boxes = np.concatenate([corners, corners + random.uniform(8, size * 0.3, (batch, 100, 2))], -1).astype("float32")
    class_ids = random.integers(1, num_classes + 1, (batch, 100)).astype("int32")
    boxes[:, 15:], class_ids[:, 15:] = -1, -1
    return images, GroundTruth(boxes, class_ids)


def step_of(model: keras.Model, batch: tuple) -> Callable[[], None]:
    """Returns a function that trains a model for one step, on the same batch each time."""
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    model.make_train_function()
    return lambda: tf.nest.map_structure(np.asarray, model.train_function(iterator))


def step_arguments(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser of the arguments of `detector_step`, and of the file of the results."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name", default="efficientdet-d0")
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--num_classes", type=int, default=3)
    parser.add_argument("--output", default="")
    return parser


def main() -> None:
    """Measures, prints and writes the results."""
    parser = step_arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--no_yardstick", action="store_true", help="skip the Keras step, to measure the peak memory of our step"
    )
    args = parser.parse_args()
    steps = {args.model_name: detector_step(args.model_name, args.image_size, args.batch_size, args.num_classes)}
    if not args.no_yardstick:
        steps["yardstick"] = yardstick(args.image_size, args.batch_size)
    medians = median_seconds(steps, args.rounds)
    result = {
        "seconds": medians,
        "ratio": medians[args.model_name] / medians["yardstick"] if "yardstick" in medians else None,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "settings": vars(args),
    }
    print(json.dumps(result, indent=2))
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
