"""Runs good and bad train steps on one device and on two, in a subprocess because devices are fixed at the start.

Prints the results for `test_strategy` as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import efficientdet
import keras
import numpy as np
import tensorflow as tf
from efficientdet.types import GroundTruth

from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import strategy as devices
from efficientdet_pipeline.training.build import build_training_model
from efficientdet_pipeline.training.train_step import TrainStepModel

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
from tiny_classes import TinyClasses, data, objective

TINY = {
    "image_size": 64,
    "num_classes": 2,
    "fpn_cell_repeats": 1,
    "fpn_num_filters": 8,
    "box_class_repeats": 1,
    "backbone_config": {
        "blocks": ["r1_k3_s11_e1_i32_o8", *(f"r1_k3_s22_e1_i8_o{filters}" for filters in (8, 8, 8, 8))]
    },
}


def batches(*, with_nan: bool = False) -> tf.data.Dataset:
    """Returns three batches of four images; with_nan: a pixel of the last image, on the second device, is NaN."""
    random = np.random.default_rng(0)
    images = random.standard_normal((12, 64, 64, 3)).astype("float32")
    if with_nan:
        images[3::4, 5, 5] = np.nan
    corners = random.uniform(0, 30, (12, 2, 2))
    boxes = np.concatenate([corners, corners + 24], -1).astype("float32")
    # The first images have more objects: normalizing by the share of one device would differ.
    class_ids = np.where(np.arange(12)[:, None] % 4 < 2, 1, [[1, -1]]).astype("int32")
    return tf.data.Dataset.from_tensor_slices((images, GroundTruth(boxes, class_ids))).batch(4, drop_remainder=True)


def train(strategy: tf.distribute.Strategy, options: TrainOptions) -> tuple[TrainStepModel, list[float]]:
    keras.utils.set_random_seed(1)
    with strategy.scope():
        config = efficientdet.get_config("efficientdet-lite0", **TINY)
        model = build_training_model(
            efficientdet.build_model(config), detection_objective(config, options.optimizer), options, steps_per_epoch=3
        )
    return model, model.fit(batches(), epochs=2, verbose=0, shuffle=False).history["loss"]


def train_classes(strategy: tf.distribute.Strategy, options: TrainOptions, *, has_maps: bool) -> list[float]:
    """Returns the losses of two epochs of a segmentation or a classification."""
    with strategy.scope():
        losses = objective(has_maps=has_maps)
        model = build_training_model(TinyClasses(has_maps=has_maps), losses, options, steps_per_epoch=3)
    batches_of = tf.data.Dataset.from_tensor_slices(data(12, has_maps=has_maps)).batch(4, drop_remainder=True)
    return model.fit(batches_of, epochs=2, verbose=0, shuffle=False).history["loss"]


def averages(model: TrainStepModel) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(weight) for weight in model.ema.shadows]


def everything(model: TrainStepModel, strategy: tf.distribute.Strategy) -> dict[str, list[np.ndarray]]:
    """Returns, by kind and name, the values that each device holds of a variable."""
    kinds = {
        "weight": model.network.trainable_variables,
        "statistic": [each for each in model.network.non_trainable_variables if "moving_" in each.path],
        "average": model.ema.shadows,
        "optimizer": model.optimizer.variables,
        "run": model.run_variables.values(),
        "metric": [variable for tracker in model.metrics for variable in tracker.variables],
    }
    return {
        f"{kind} {number} {variable.name}": [
            copy.numpy() for copy in strategy.experimental_local_results(variable.value)
        ]
        for kind, variables in kinds.items()
        for number, variable in enumerate(variables)
    }


def changed_by_steps(model: TrainStepModel, strategy: tf.distribute.Strategy) -> list[dict[str, Any]]:
    """Returns which variables a good, a bad and another good step changed on any device, and the step counters."""
    found, before = [], everything(model, strategy)
    for with_nan in (False, True, False):
        logs = model.fit(batches(with_nan=with_nan).take(1), verbose=0, shuffle=False).history
        after = everything(model, strategy)
        counters = (model.bad_steps, model.bad_steps_total, model.optimizer.iterations)
        found.append(
            {
                "changed": [name for name, values in after.items() if not np.array_equal(values, before[name])],
                "counted": [int(keras.ops.convert_to_numpy(each)) for each in counters],
                "logs": {name: values[0] for name, values in logs.items()},
            }
        )
        before = after
    return found


def main() -> None:
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    options = compose(TrainOptions, url_dataset="none", batch_size=4, num_epochs=2)
    devices.build_strategy(options)
    both = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    of_classes = {
        name: [train_classes(each, options, has_maps=has_maps) for each in (tf.distribute.get_strategy(), both)]
        for name, has_maps in (("segmentation", True), ("classification", False))
    }
    if sys.argv[1:] == ["classes"]:
        print(json.dumps(of_classes))
        return
    alone, one = train(tf.distribute.get_strategy(), options)
    together, two = train(both, options)
    pairs = zip(averages(alone), averages(together), strict=True)
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    # With the same model, because tracing a step on two devices takes a while.
    steps = changed_by_steps(together, both)
    print(json.dumps({"one": one, "two": two, "weights": difference, "steps": steps, **of_classes}))


if __name__ == "__main__":
    main()
