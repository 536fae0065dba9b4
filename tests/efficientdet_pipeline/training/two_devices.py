"""Takes the same three steps on one device and on two, in a process of its own: devices are fixed at the start."""

import json

import efficientdet
import keras
import numpy as np
import tensorflow as tf
from efficientdet.types import GroundTruth

from efficientdet_pipeline.options.train import TrainOptions
from efficientdet_pipeline.training import devices
from efficientdet_pipeline.training.building import build_training_model

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


def batches() -> tf.data.Dataset:
    random = np.random.default_rng(0)
    images = random.standard_normal((12, 64, 64, 3)).astype("float32")
    corners = random.uniform(0, 30, (12, 2, 2))
    boxes = np.concatenate([corners, corners + 24], -1).astype("float32")
    # The first photos have more objects: a device that normalised by its own share would differ.
    class_ids = np.where(np.arange(12)[:, None] % 4 < 2, 1, [[1, -1]]).astype("int32")
    return tf.data.Dataset.from_tensor_slices((images, GroundTruth(boxes, class_ids))).batch(4, drop_remainder=True)


def train(strategy: tf.distribute.Strategy, options: TrainOptions) -> tuple[list[float], list[np.ndarray]]:
    keras.utils.set_random_seed(1)
    with strategy.scope():
        config = efficientdet.get_config("efficientdet-lite0", **TINY)
        model = build_training_model(efficientdet.build_model(config), config, options, steps_per_epoch=3)
    history = model.fit(batches(), epochs=2, verbose=0, shuffle=False)
    return history.history["loss"], [keras.ops.convert_to_numpy(weight) for weight in model.average.shadows]


def main() -> None:
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    options = TrainOptions(url_dataset="none", batch_size=4, num_epochs=2)
    devices.set_up(options)
    one, averages = train(tf.distribute.get_strategy(), options)
    two, other_averages = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), options)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(averages, other_averages, strict=True))
    print(json.dumps({"one": one, "two": two, "weights": difference}))


if __name__ == "__main__":
    main()
