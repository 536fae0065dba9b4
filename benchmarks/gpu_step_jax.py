"""Our step on JAX, for `gpu_suite.py`: the whole training step of the pipeline, as in `fit`.

The step includes anchor matching on the device, both losses, gradients, both clippings, momentum and weight averaging,
and the state is donated from step to step.
"""

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
# The phase has the device to itself: one block from the start, as in a training, and more than JAX's default of 75 %.
# The rest is for contexts and libraries that allocate outside of XLA.
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
# A machine with a GPU may have the repository but not all dependencies of the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "third_party" / "automl"))

import efficientdet
import jax
import keras
from compiled_convolutions import convolutions_of, odd_choices
from efficientdet.types import GroundTruth
from gpu_given import Given, Notes, finite_or_none, images_a_second, process_gigabytes, synthetic_batch
from jax import numpy as jnp

from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.build import build_training_model

# Longer than any measurement, so that the learning rate does not reach the end of its schedule.
STEPS_PER_EPOCH = 1000
WARM_UP_SECONDS = 3.0


@dataclass
class Stepper:
    """A compiled step and its state."""

    step: Any
    """Executable of XLA."""
    state: Any
    data: Any
    logs: Any = None

    def run(self, steps: int) -> None:
        """Runs some steps and waits for the device."""
        for _ in range(steps):
            self.logs, self.state = self.step(self.state, self.data)
        jax.block_until_ready((self.logs, self.state))


def compiled_step(given: Given, notes: Notes) -> Stepper:
    """Returns the step, compiled; notes the device, the times and what XLA planned."""
    notes.add(
        {
            "device": jax.devices()[0].device_kind,
            "platform": jax.default_backend(),
            "versions": {"jax": jax.__version__, "keras": keras.__version__},
        }
    )
    model = training_model(given)
    parameters = sum(math.prod(variable.shape) for variable in model.network.trainable_variables)
    notes.add({"parameters": parameters, "anchors": int(model.objective.anchors.shape[0])})
    images, boxes, class_ids = jax.block_until_ready(jax.device_put(synthetic_batch(given)))
    data = images, GroundTruth(boxes, class_ids)
    # Copies, because donated arrays must not be those of the variables.
    state: Any = tuple([jnp.copy(variable.value) for variable in group] for group in model._variables())
    if given.is_warmed:
        _warm_up()
    hits = _cache_hits()
    began = time.perf_counter()
    lowered = jax.jit(model.train_step, donate_argnums=0).lower(state, data)
    traced = time.perf_counter()
    notes.add({"trace_seconds": traced - began})
    notes.say("compiling, which takes minutes on a GPU …")
    stepper = Stepper(lowered.compile(), state, data)
    compiled = time.perf_counter()
    notes.add({"compile_seconds": compiled - traced, "compilation_cache_hits": hits()})
    stepper.run(1)
    first_loss = finite_or_none(stepper.logs["step_loss"])
    notes.add({"first_step_seconds": time.perf_counter() - began, "first_loss": first_loss, "compiled": True})
    notes.add(_plan(stepper.step))
    return stepper


def training_model(given: Given) -> Any:
    """Returns the training model of the pipeline."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(given.precision)
    size = {"image_size": given.image_size, "num_classes": given.num_classes}
    config = efficientdet.get_config(given.model_name, **size, **given.network)
    options = compose(TrainOptions, url_dataset="none", batch_size=given.batch_size)
    objective = detection_objective(config, options.optimizer)
    return build_training_model(efficientdet.build_model(config), objective, options, steps_per_epoch=STEPS_PER_EPOCH)


def measured(given: Given, notes: Notes) -> None:
    """Notes rate, compile time, memory and losses for one batch size."""
    stepper = compiled_step(given, notes)
    rate = images_a_second(lambda: stepper.run(given.steps), given)
    notes.add({"images_a_second": rate, "step_milliseconds": 1000 * given.batch_size / rate})
    statistics = jax.local_devices()[0].memory_stats() or {}
    notes.add(
        {
            "last_loss": finite_or_none(stepper.logs["step_loss"]),
            "bad_steps": int(stepper.logs["bad_steps"]),
            "memory_gb": {"process_peak": process_gigabytes()}
            | {
                name: statistics[key] / 1e9
                for name, key in (("device_peak", "peak_bytes_in_use"), ("device_limit", "bytes_limit"))
                if key in statistics
            },
            "memory_fraction": os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"],
        }
    )


def _plan(step: Any) -> dict[str, Any]:
    """Returns the memory, bytes and operations that XLA planned, and convolutions with an unusual algorithm."""
    found: dict[str, Any] = {}
    if (memory := step.memory_analysis()) is not None:
        found["temporaries_gb"] = memory.temp_size_in_bytes / 1e9
    costs = step.cost_analysis() or {}
    costs = costs[0] if isinstance(costs, list) else costs
    found |= {name.replace(" ", "_"): costs[name] for name in ("flops", "bytes accessed") if name in costs}
    convolutions = convolutions_of(step.as_text())
    odd = [{"operation": each.operation, "algorithm": each.algorithm} for each in odd_choices(convolutions)]
    return found | {"cudnn_convolutions": len(convolutions), "odd_convolutions": odd}


def _warm_up() -> None:
    """Computes until the clocks of the device are up, so that XLA's measurements of kernels are reliable."""
    square = jnp.ones((4096, 4096), "bfloat16")
    multiply = jax.jit(jnp.matmul)
    began = time.perf_counter()
    while time.perf_counter() - began < WARM_UP_SECONDS:
        jax.block_until_ready(multiply(square, square))


def _cache_hits() -> Callable[[], int]:
    """Returns a function that counts the programs read from the compilation cache from here on."""
    events: list[str] = []
    jax.monitoring.register_event_listener(lambda event, **about: events.append(event))
    return lambda: events.count("/jax/compilation_cache/cache_hits")
