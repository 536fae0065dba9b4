"""Runs a few train steps on the backend of KERAS_BACKEND, and prints the results as JSON.

python run_train_steps.py '{"case": {"option": value}}'

With TF_CONFIG in the environment it is one of several processes, each of which reads its share of the batches.
"""

import json
import os
import sys
from pathlib import Path
from unittest import mock

if os.environ.get("KERAS_BACKEND") == "jax":
    sys.modules["tensorflow"] = None  # type: ignore[assignment] # Makes the import fail.

import efficientdet
import keras
import numpy as np
from efficientdet.detectors.config import read_parts
from efficientdet.types import GroundTruth

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import tiny_classes

from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import strategy
from efficientdet_pipeline.training.build import build_training_model

NETWORK = {
    "image_size": 64,
    "max_level": 5,
    "num_classes": 2,
    "fpn_cell_repeats": 1,
    "fpn_num_filters": 8,
    "box_class_repeats": 2,
    "survival_prob": 0.5,
    "backbone_config": {
        "blocks": ["r1_k3_s11_e1_i32_o8_se0.25", "r2_k3_s22_e1_i8_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 3]
    },
}
PARTS = {
    "image_size": 64,
    "backbone": {"name": "efficientnet-b0", "blocks": NETWORK["backbone_config"]["blocks"]},  # type: ignore[index]
    "neck": {"name": "bifpn", "filters": 8, "repeats": 1, "max_level": 5},
    "head": {"name": "anchor_free", "num_classes": 2, "filters": 8, "num_heads": 1},
}
BATCH, STEPS, NAN_STEP = 4, 3, 1


def batches(with_nan: bool, index: int, count: int) -> tuple[np.ndarray, GroundTruth]:
    """Returns the images of all steps that process `index` of `count` reads; step NAN_STEP may hold a NaN."""
    random = np.random.default_rng(0)
    images = random.standard_normal((STEPS, BATCH, 64, 64, 3), dtype="float32")
    if with_nan:
        images[NAN_STEP, 2, 5, 5] = np.nan
    corners = random.uniform(0, 30, (STEPS, BATCH, 2, 2))
    boxes = np.concatenate([corners, corners + 24], -1).astype("float32")
    # The first images have more objects: normalizing by the share of one process would differ.
    class_ids = np.tile(np.array([[1, 2], [2, 2], [1, -1], [-1, -1]], "int32"), (STEPS, 1, 1))
    share = slice(index * BATCH // count, (index + 1) * BATCH // count)
    images, boxes, class_ids = (part[:, share].reshape(-1, *part.shape[2:]) for part in (images, boxes, class_ids))
    return images, GroundTruth(boxes, class_ids)


def train_classes(*, has_maps: bool, strategy_name: str) -> dict:
    """Trains a segmentation or a classification for an epoch and returns its losses."""
    run = compose(
        TrainOptions,
        url_dataset="none",
        batch_size=BATCH,
        num_epochs=1,
        compilation_cache="none",
        strategy=strategy_name,
    )
    process_group = strategy.init_process_group(strategy_name)
    with strategy.build_strategy(run).scope():
        losses = tiny_classes.objective(has_maps=has_maps)
        network = tiny_classes.TinyClasses(has_maps=has_maps)
        model = build_training_model(network, losses, run, steps_per_epoch=STEPS)
    size = BATCH // process_group.count
    own = np.arange(STEPS * BATCH).reshape(STEPS, process_group.count, size)[:, process_group.index].ravel()
    images, truth = (part[own] for part in tiny_classes.data(STEPS * BATCH, has_maps=has_maps))
    means = model.fit(images, truth, batch_size=size, shuffle=False, verbose=0).history
    return {name: values[0] for name, values in means.items()}


def train(options: dict) -> dict:
    """Trains one epoch with the options and returns the results."""
    options = dict(options)
    if "has_maps" in options:
        return train_classes(has_maps=options["has_maps"], strategy_name=options.get("strategy", ""))
    with_nan, has_parts = options.pop("with_nan", False), options.pop("parts", False)
    as_on_gpu = options.pop("as_on_gpu", False) and keras.backend.backend() == "jax"
    run = compose(TrainOptions, url_dataset="none", batch_size=BATCH, num_epochs=1, compilation_cache="none", **options)
    process_group = strategy.init_process_group(run.hardware.strategy)
    with strategy.build_strategy(run).scope():
        config = read_parts(PARTS) if has_parts else efficientdet.get_config("efficientdet-d0", **NETWORK)
        model = build_training_model(
            efficientdet.build_model(config), detection_objective(config, run.optimizer), run, steps_per_epoch=STEPS
        )
    images, truth = batches(with_nan, process_group.index, process_group.count)
    losses: list[float] = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["step_loss"]))
    size = BATCH // process_group.count
    with mock.patch("efficientdet.cpu_kernels.is_gpu_of_jax", return_value=as_on_gpu):
        means = model.fit(images, truth, batch_size=size, shuffle=False, verbose=0, callbacks=[note]).history
    model.sync()

    def length(variables: list) -> float:
        return float(np.sqrt(sum(np.square(keras.ops.convert_to_numpy(each)).sum() for each in variables)))

    return {
        "losses": losses,
        "means": {name: values[0] for name, values in means.items() if name != "step_loss"},
        "weights": length(model.network.trainable_variables),
        "statistics": length([each for each in model.network.variables if "moving_" in each.path]),
        "average": length(model.ema.shadows),
        "slots": length(model.optimizer.variables),
        "counted": [int(keras.ops.convert_to_numpy(each)) for each in (model.bad_steps, model.bad_steps_total)],
    }


if __name__ == "__main__":
    print(json.dumps({case: train(options) for case, options in json.loads(sys.argv[1]).items()}))
