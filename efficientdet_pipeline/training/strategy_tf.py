"""Distribution strategy on TensorFlow: the devices of one machine, by `tf.distribute`."""

import keras
import tensorflow as tf
from absl import logging
from efficientdet.layers import BatchNormalization
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.eager import context

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.training.compilation import Compilation
from efficientdet_pipeline.training.distributed import ProcessGroup
from efficientdet_pipeline.training.strategy import Hardware


def init_process_group(strategy: str) -> ProcessGroup:
    """Returns a process group of this process only.

    Raises:
      OptionsError: the strategy needs several processes.
    """
    if strategy in {"tpu", "multiworker"}:
        reason = {
            "tpu": "TensorFlow has no Cloud TPU support past 2.18",
            "multiworker": "Keras trains over several machines only on JAX",
        }
        raise OptionsError(
            f"strategy={strategy} needs the JAX backend: {reason[strategy]}. Received it on TensorFlow; add "
            "--backend=jax.",
            option="strategy",
        )
    return ProcessGroup()


def destroy_process_group() -> None:
    """Does nothing: there is no other process."""


def select_devices(strategy: str) -> tuple[object, int]:
    """Returns the devices of `strategy`, and their number.

    Raises:
      OptionsError: this machine has no such device.
    """
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not gpus:
        # Free on a CPU; the same command then gives bit-identical weights.
        tf.config.experimental.enable_op_determinism()
        _set_graph_optimizers()
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


def use_compilation_cache(given: str, cache_dir: str) -> None:
    """Warns if a cache is requested: TensorFlow builds a graph from Python code, and keeps nothing of it."""
    del cache_dir
    if given:
        logging.warning(
            "compilation_cache has no effect on TensorFlow, which builds its graph again at every start: "
            "only --backend=jax keeps compiled steps."
        )


def compilation() -> Compilation:
    """Returns the name of what TensorFlow does before the first step; it reports no times."""
    return Compilation("Building the training graph")


def _set_graph_optimizers() -> None:
    """Makes gradients of a shared weight sum in a fixed order, and the optimizers of a graph run once.

    TensorFlow's memory optimizer splits such sums into unordered additions, even
    under op determinism, so that the last bit sometimes differs. No public option
    disables only this optimizer; disabling all of them makes a step slower and
    increases its memory.

    A second run of all optimizers removes one percent of the operations: the first
    step takes a tenth longer, and later ones are not faster.
    """
    config = tf.compat.v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    context.context()._config = config
    # Functions built from here on read the changed settings.
    tf.config.optimizer.set_experimental_options({})


def hardware() -> Hardware:
    """Returns the hardware properties that the precision depends on."""
    gpus = tf.config.list_physical_devices("GPU")
    generations = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    return Hardware(is_cpu=not gpus, has_bfloat16=bool(gpus) and min(generations) >= (8, 0))


def count() -> int:
    """Returns the number of GPUs."""
    return max(1, len(tf.config.list_physical_devices("GPU")))


def is_jit_faster() -> bool:
    """Returns whether XLA makes the train step faster on this device."""
    return bool(tf.config.list_physical_devices("GPU"))


def process_index_and_count() -> tuple[int, int]:
    """Returns the index of this process, and the number of processes."""
    return 0, 1


def share_batch_statistics(detector: keras.Model) -> None:
    """Synchronizes batch normalization over the replicas of the current strategy scope."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        for layer in detector._flatten_layers():
            if isinstance(layer, BatchNormalization):
                layer.synchronized = True
