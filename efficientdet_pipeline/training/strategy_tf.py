"""Devices of TensorFlow: this machine's, by `tf.distribute`."""

from typing import Any

import keras
import tensorflow as tf
from efficientdet.layers import BatchNormalization
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.eager import context

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.training.distributed import ProcessGroup
from efficientdet_pipeline.training.strategy import Hardware


def init_process_group(strategy: str) -> ProcessGroup:
    """Returns this process alone.

    Raises:
      OptionsError: more were asked for.
    """
    if strategy in {"tpu", "multiworker"}:
        reason = {
            "tpu": "TensorFlow has no Cloud TPU support past 2.18",
            "multiworker": "Keras trains over several machines on JAX alone",
        }
        raise OptionsError(
            f"strategy={strategy} needs the JAX backend: {reason[strategy]}. Received it on TensorFlow; add "
            "--backend=jax.",
            option="strategy",
        )
    return ProcessGroup()


def destroy_process_group() -> None:
    """Does nothing: there is no other process."""


def chosen(strategy: str) -> tuple[Any, int]:
    """Returns the devices that `strategy` names, and their number.

    Raises:
      OptionsError: this machine has none such.
    """
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not gpus:
        # On a CPU it costs nothing, and the same command gives the same weights, bit for bit.
        tf.config.experimental.enable_op_determinism()
        _keep_order_of_sums()
    if strategy != "gpus":
        return tf.distribute.get_strategy(), 1
    if not gpus:
        raise OptionsError(
            "strategy=gpus needs a GPU that TensorFlow can see. Received a machine with none; install the GPU's driver "
            "and `tensorflow[and-cuda]`, or leave --strategy out to train on the CPU.",
            option="strategy",
        )
    mirrored = tf.distribute.MirroredStrategy(gpus)
    return mirrored, mirrored.num_replicas_in_sync


def _keep_order_of_sums() -> None:
    """Keeps gradients that meet in a weight from being summed in the order in which they come.

    TensorFlow's memory optimizer makes such sums of additions that do not wait
    for each other, and determinism does not stop it: a last bit differs now and
    then. Nothing public switches that optimizer off alone; without all of them
    a step takes longer and more memory.
    """
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    context.context()._config = config
    # Functions that are built from here on ask for their settings anew.
    tf.config.optimizer.set_experimental_options({})


def hardware() -> Hardware:
    """Returns what the precision depends on."""
    gpus = tf.config.list_physical_devices("GPU")
    generations = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    return Hardware(is_cpu=not gpus, has_bfloat16=bool(gpus) and min(generations) >= (8, 0))


def count() -> int:
    """Returns the number of GPUs."""
    return max(1, len(tf.config.list_physical_devices("GPU")))


def is_compiled_for() -> bool:
    """Returns whether XLA makes the step quicker here."""
    return bool(tf.config.list_physical_devices("GPU"))


def process() -> tuple[int, int]:
    """Returns this process's number, and how many there are."""
    return 0, 1


def share_batch_statistics(detector: keras.Model) -> None:
    """Takes statistics over all replicas of the strategy in whose scope this is called."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        for layer in detector._flatten_layers():
            if isinstance(layer, BatchNormalization):
                layer.synchronized = True
