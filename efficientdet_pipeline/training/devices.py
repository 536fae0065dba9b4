"""What the training computes on, and in which precision."""

from typing import Any

import keras
import tensorflow as tf
from absl import logging
from efficientdet.layers import BatchNormalization

from efficientdet_pipeline.errors import OptionsError


def set_up(options: Any) -> tf.distribute.Strategy:
    """Seeds every generator, sets precision and determinism, and returns the devices to train on."""
    keras.utils.set_random_seed(options.tf_random_seed)
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        # On a CPU it costs nothing, and the same command gives the same weights, bit for bit.
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(_precision(options.mixed_precision, has_gpu=bool(gpus)))
    strategy = _strategy(options, [device.name for device in gpus])
    devices = strategy.num_replicas_in_sync
    if options.batch_size % devices:
        raise OptionsError(
            f"batch_size must divide evenly among the devices. Received batch_size={options.batch_size} with "
            f"{devices} devices; try {max(devices, options.batch_size // devices * devices)}.",
            option="batch_size",
        )
    return strategy


def _precision(mixed: bool, *, has_gpu: bool) -> str:
    if mixed and not has_gpu:
        logging.warning("mixed_precision has no effect on a CPU, where 16 bits are slower: computing in float32.")
        return "float32"
    return "mixed_bfloat16" if mixed else "float32"


def _strategy(options: Any, gpus: list[str]) -> tf.distribute.Strategy:
    if options.strategy != "gpus":
        return tf.distribute.get_strategy()
    if not gpus:
        raise OptionsError(
            "strategy=gpus needs a GPU that TensorFlow can see. Received a machine with none; install the GPU's driver "
            "and `tensorflow[and-cuda]`, or leave --strategy out to train on the CPU.",
            option="strategy",
        )
    return tf.distribute.MirroredStrategy(gpus)


def share_batch_statistics(detector: keras.Model) -> None:
    """Makes every batch normalisation see the whole batch where several devices share it."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        for layer in detector._flatten_layers():
            if isinstance(layer, BatchNormalization):
                layer.synchronized = True
