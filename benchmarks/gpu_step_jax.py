"""Our half of `gpu_step.py`: the whole training step of the pipeline on JAX, as in `fit`.

The step includes anchor matching on the device, both losses, gradients, both clippings, momentum and weight averaging,
and the state is donated from step to step.
"""

import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
# The half has the device to itself: one block from the start, as in a training, and more than JAX's default of 75 %.
# The rest is for contexts and libraries that allocate outside of XLA.
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
# A machine with a GPU may have the repository but not all dependencies of the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "third_party" / "automl"))

import efficientdet
import jax
import keras
from efficientdet.types import GroundTruth
from gpu_given import Given, finite_or_none, images_a_second, process_gigabytes, synthetic_batch

from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.build import build_training_model

# Longer than any measurement, so that the learning rate does not reach the end of its schedule.
STEPS_PER_EPOCH = 1000


def measured(given: Given) -> dict[str, Any]:
    """Returns rate, compile time, memory and losses for one batch size."""
    keras.config.set_dtype_policy(given.precision)
    config = efficientdet.get_config(given.model_name, image_size=given.image_size, num_classes=given.num_classes)
    options = compose(TrainOptions, url_dataset="none", batch_size=given.batch_size)
    detector = efficientdet.build_model(config)
    model = build_training_model(
        detector, detection_objective(config, options.optimizer), options, steps_per_epoch=STEPS_PER_EPOCH
    )
    images, boxes, class_ids = jax.block_until_ready(jax.device_put(synthetic_batch(given)))
    data = images, GroundTruth(boxes, class_ids)
    # Copies, because donated arrays must not be those of the variables.
    state: Any = tuple([jax.numpy.copy(variable.value) for variable in group] for group in model._variables())
    began = time.perf_counter()
    lowered = jax.jit(model.train_step, donate_argnums=0).lower(state, data)
    traced = time.perf_counter()
    step = lowered.compile()
    compiled = time.perf_counter()
    logs, state = step(state, data)
    first_loss = finite_or_none(logs["step_loss"])
    stepped = time.perf_counter()

    def one_round() -> None:
        nonlocal logs, state
        for _ in range(given.steps):
            logs, state = step(state, data)
        jax.block_until_ready((logs, state))

    rate = images_a_second(one_round, given)
    return {
        "images_a_second": rate,
        "compiled": True,
        "trace_seconds": traced - began,
        "compile_seconds": compiled - traced,
        "first_step_seconds": stepped - began,
        "memory_gb": _memory(step),
        "losses": [first_loss, finite_or_none(logs["step_loss"])],
        "bad_steps": int(logs["bad_steps"]),
        "parameters": sum(math.prod(variable.shape) for variable in detector.trainable_variables),
        "anchors": int(model.anchors.shape[0]),
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "versions": {"jax": jax.__version__, "keras": keras.__version__},
        # With a compilation cache, there are no compile_seconds.
        "compilation_cache": jax.config.jax_compilation_cache_dir,
        "memory_fraction": os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"],
    }


def _memory(step: Any) -> dict[str, float]:
    """Returns the peak memory of the device and of the process, and the memory planned by XLA, in GB."""
    held = {"process_peak": process_gigabytes()}
    if "peak_bytes_in_use" in (statistics := jax.local_devices()[0].memory_stats() or {}):
        held["device_peak"] = statistics["peak_bytes_in_use"] / 1e9
    if (plan := step.memory_analysis()) is not None:
        held["temporaries_planned"] = plan.temp_size_in_bytes / 1e9
    return held
