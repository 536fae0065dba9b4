"""Distribution strategy on JAX: devices of one or several machines, by `keras.distribution`."""

import contextlib
import importlib.util
import os

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from efficientdet_pipeline.errors import ExitCode, OptionsError, StoppedError
from efficientdet_pipeline.training import compilation_jax
from efficientdet_pipeline.training.compilation import Compilation
from efficientdet_pipeline.training.distributed import ProcessGroup, cluster_spec
from efficientdet_pipeline.training.strategy import Hardware


class OneDevice:
    """The default device of JAX."""

    def scope(self) -> contextlib.AbstractContextManager[object]:
        """Returns a context without effect."""
        return contextlib.nullcontext()


def init_process_group(strategy: str) -> ProcessGroup:
    """Connects to the other processes of this training; must be called before JAX computes anything.

    Raises:
      OptionsError: the environment does not describe the cluster.
      StoppedError: the processes cannot be reached.
    """
    _leave_accelerators_to_jax()
    if strategy not in {"multiworker", "tpu"}:
        return ProcessGroup()
    is_pod = strategy == "tpu" and "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    if strategy == "tpu" and not is_pod:
        return ProcessGroup()
    host = ""
    try:
        if is_pod:
            host = os.environ["TPU_WORKER_HOSTNAMES"].partition(",")[0]
            jax.distributed.initialize()
        else:
            processes = cluster_spec(os.environ)
            host = processes.host
            keras.distribution.initialize(",".join(processes.addresses), len(processes.addresses), processes.index)
        process_group = ProcessGroup(jax.process_index(), jax.process_count())
        process_group.connect(host, _broadcast)
    except (RuntimeError, OSError) as error:
        raise StoppedError(
            f"The processes of this training must connect to {host or 'the chief'}. This one could not: {error}. "
            "Start all of them within five minutes, and allow connections between their ports.",
            exit_code=ExitCode.TRY_AGAIN,
        ) from error
    return process_group


def destroy_process_group() -> None:
    """Disconnects from the other processes."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()
        keras.distribution.set_distribution(None)


def _broadcast(numbers: list[int] | None) -> list[int]:
    received = multihost_utils.broadcast_one_to_all(np.asarray(numbers or [0, 0, 0], "int32"))
    return [int(number) for number in received]


def select_devices(strategy: str) -> tuple[object, int]:
    """Returns the devices of `strategy`, and their number.

    Raises:
      OptionsError: this machine has no such device.
    """
    if not strategy:
        return OneDevice(), 1
    kind = jax.default_backend()
    wanted = {"gpus": "gpu", "tpu": "tpu"}.get(strategy, kind)
    if kind != wanted:
        raise OptionsError(
            f"strategy={strategy} needs a {wanted.upper()} that JAX can see. Received a machine with {kind.upper()} "
            f"only; install JAX for it (`pip install 'jax[{'cuda12' if wanted == 'gpu' else 'tpu'}]'`), or leave "
            "--strategy out.",
            option="strategy",
        )
    # Each process reads its own share of a batch, so Keras must not shard the data again.
    parallel = keras.distribution.DataParallel(devices=keras.distribution.list_devices(), auto_shard_dataset=False)
    keras.distribution.set_distribution(parallel)
    return parallel, jax.device_count()


def use_compilation_cache(given: str, cache_dir: str) -> None:
    """Keeps compiled programs in a folder; see `compilation_jax.use_cache`."""
    compilation_jax.use_cache(given, cache_dir)


def compilation() -> Compilation:
    """Returns what was compiled so far, and keeps it."""
    return compilation_jax.finished()


def hardware() -> Hardware:
    """Returns the hardware properties that the precision depends on."""
    device = jax.devices()[0]
    if device.platform == "gpu":
        return Hardware(is_cpu=False, has_bfloat16=float(getattr(device, "compute_capability", "0")) >= 8.0)
    return Hardware(is_cpu=device.platform == "cpu", has_bfloat16=device.platform == "tpu")


def count() -> int:
    """Returns the number of devices of all processes."""
    return jax.device_count()


def is_jit_faster() -> bool:
    """Returns True: JAX compiles every operation in any case."""
    return True


def process_index_and_count() -> tuple[int, int]:
    """Returns the index of this process, and the number of processes."""
    return jax.process_index(), jax.process_count()


def share_batch_statistics(detector: keras.Model) -> None:
    """Does nothing: a batch is one global array, and so are its statistics."""


def _leave_accelerators_to_jax() -> None:
    """Hides accelerators from TensorFlow, which only reads the data here."""
    if importlib.util.find_spec("tensorflow") is not None:
        import tensorflow as tf

        for kind in ("GPU", "TPU"):
            with contextlib.suppress(RuntimeError, ValueError):  # TensorFlow has already initialized them
                tf.config.set_visible_devices([], kind)
