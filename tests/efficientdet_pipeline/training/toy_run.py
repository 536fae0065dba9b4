"""A run of a tiny model with real checkpoints; as a script, one process of it.

Arguments of the script: folder, steps between checkpoints, seconds per step.
"""

import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.tasks.detection import LAYOUT
from efficientdet_pipeline.training.checkpoint_callback import CheckpointCallback
from efficientdet_pipeline.training.ema import ExponentialMovingAverage
from efficientdet_pipeline.training.loop import train
from efficientdet_pipeline.training.run_config import RunConfig, RunPaths

BATCH = 2


class Toy(keras.Model):
    """Minimal training model: three weights, momentum, an EMA, a running mean, counters."""

    def __init__(self) -> None:
        super().__init__()
        self.network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="dense")], name="toy")
        self.network.layers[0].kernel.assign([[1.0], [2.0], [3.0]])
        self.trackers = {"loss": keras.metrics.Mean(name="loss")}
        self.bad_steps = self._counter("bad_steps", 0, "int32")
        self.bad_steps_total = self._counter("bad_steps_total", 0, "int32")
        self.learning_rate_factor = self._counter("learning_rate_factor", 1.0, "float32")
        self.ema = ExponentialMovingAverage(self.network.variables, 0.9)
        self.callbacks: list[Any] = []
        self.epoch_values: list[Any] = []
        self.best_from_step = 0
        self.checkpoint_files: dict[str, Any] = {}
        self.changed_weights: list[Any] = []
        self.num_devices = 1
        self.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9, name="optimizer"), jit_compile=False)
        self.optimizer.build(self.network.trainable_variables)

    def _counter(self, name: str, value: float, dtype: str) -> keras.Variable:
        return keras.Variable(value, trainable=False, dtype=dtype, name=name)

    def call(self, inputs: Any) -> Any:
        return self.network(inputs)

    @property
    def metrics(self) -> list[Any]:
        return list(self.trackers.values())

    def ema_weights(self) -> Any:
        return self.ema.swapped_in()

    def last_learning_rate(self) -> float:
        return 0.01 * float(self.learning_rate_factor.numpy())

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs, truth = data
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(inputs) - truth))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        good = tf.math.is_finite(loss)

        def take() -> tf.Tensor:
            step = tf.identity(self.optimizer.iterations.value)
            self.optimizer.apply([gradient * self.learning_rate_factor.value for gradient in gradients], variables)
            self.ema.update(step)
            self.trackers["loss"].update_state(loss)
            return tf.constant(True)

        tf.cond(good, take, lambda: tf.constant(False))
        bad = 1 - tf.cast(good, tf.int32)
        self.bad_steps.assign((self.bad_steps.value + bad) * bad)
        self.bad_steps_total.assign_add(bad)
        return {
            "loss": self.trackers["loss"].result(),
            "bad_steps": tf.cast(self.bad_steps.value, tf.float32),
            "step_loss": loss,
        }


def batches_from(position: int, *, bad: frozenset[int] = frozenset(), seconds: float = 0.0) -> tf.data.Dataset:
    """Yields batches that are functions of their sample indices; those of the steps `bad` (1-based) hold a NaN."""

    def sample(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs = tf.random.stateless_normal((3,), tf.stack([tf.constant(7, tf.int64), number]))
        return inputs, tf.reduce_sum(inputs, keepdims=True) + 3.0

    def spoil(inputs: tf.Tensor, truth: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_bad = tf.reduce_any(number[0] // BATCH + 1 == tf.constant(sorted(bad) or [-1], tf.int64))
        wait = tf.numpy_function(lambda: np.float32(time.sleep(seconds) or 0.0), [], tf.float32)
        return inputs + tf.ensure_shape(wait, ()) + tf.where(is_bad, np.nan, 0.0), truth

    numbers = tf.data.Dataset.range(position, 10**6)
    samples = numbers.map(lambda number: (*sample(number), number))
    return samples.batch(BATCH, drop_remainder=True).map(spoil)


class Run:
    """One process of a run with its files in `folder`; epochs have five steps."""

    def __init__(self, folder: Path, *, aps: Any = (), images_of: Any = None, evaluate: bool = True, **config: Any):
        self.folder = folder
        self.aps = list(aps)
        self.evaluated: list[int] = []
        self.model = Toy()
        shape = {"num_epochs": 4, "steps_per_epoch": 5, "batch_size": BATCH, "evaluate_every": 1, "save_every": 2}
        self.config = RunConfig(**{**shape, **config})
        paths = {
            "results": "results.csv",
            "curves": "results.png",
            "incidents": "incidents.jsonl",
            "bad_steps": "bad_steps.json",
        }
        self.callback = CheckpointCallback(
            self.config,
            RunPaths(
                **{name: folder / paths.get(name, name) for name in RunPaths.__dataclass_fields__},
            ),
            layout=LAYOUT,
            evaluate=self.measure if evaluate else None,
            write_network=lambda path: path.write_text("name: toy\n"),
            images_of=images_of,
        )

    def measure(self, epoch: int) -> Metrics:
        self.evaluated.append(epoch)
        # A function of the weights, unless the test sets the APs.
        ap = self.aps[epoch - 1] if self.aps else float(1 / (1 + np.abs(self.model.network.get_weights()[0]).sum()))
        return Metrics({"AP": ap}, "AP", {"AP": {"thing": ap}})

    def run(self, **batches: Any) -> None:
        train(
            self.model,
            lambda position: batches_from(position, **batches),
            self.config,
            self.callback,
            bar=False,
        )


if __name__ == "__main__":
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(1)
    Run(Path(sys.argv[1]), save_every=int(sys.argv[2]), num_epochs=6).run(seconds=float(sys.argv[3]))
