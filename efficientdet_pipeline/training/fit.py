"""Puts a run together and takes it from where it is to its end."""

import re
from collections.abc import Callable
from typing import Any

import efficientdet
import keras
import tensorflow as tf
from absl import logging
from efficientdet.config import DetectorConfig
from efficientdet.losses import LossOptions

from efficientdet_pipeline.errors import OptionsError, StoppedError
from efficientdet_pipeline.training.averaging import WeightAverage
from efficientdet_pipeline.training.devices import share_batch_statistics
from efficientdet_pipeline.training.keeper import Keeper, Plan
from efficientdet_pipeline.training.optimizers import build_optimizer
from efficientdet_pipeline.training.progress import Progress
from efficientdet_pipeline.training.schedule import learning_rate
from efficientdet_pipeline.training.step_tensorflow import TrainingModel
from efficientdet_pipeline.training.stopping import stop_requests


def build_training_model(
    detector: keras.Model, config: DetectorConfig, options: Any, *, steps_per_epoch: int
) -> TrainingModel:
    """Returns the detector ready for `train`, its optimizer and average built."""
    loss = LossOptions(
        alpha=options.alpha,
        gamma=options.gamma,
        label_smoothing=options.label_smoothing,
        delta=options.delta,
        box_loss_weight=options.box_loss_weight,
        iou_loss_type=options.iou_loss_type or None,
        iou_loss_weight=options.iou_loss_weight,
        # AdamW decays the weights itself.
        weight_decay=0.0 if options.optimizer == "adamw" else options.weight_decay,
    )
    detector.set_drop_path(options.tf_random_seed, 0)
    share_batch_statistics(detector)
    model = TrainingModel(detector, config, loss)
    model.frozen = _frozen(detector, options.var_freeze_expr)
    model.schedule = learning_rate(options, steps_per_epoch=steps_per_epoch)
    model.clip_norm = options.clip_gradients_norm
    optimizer = build_optimizer(options, model.schedule)
    optimizer.build(model.trained_variables())
    model.compile(
        optimizer=optimizer,
        # Left on "auto" Keras would compile for the CPU, where XLA is about eight times slower here.
        jit_compile=options.use_xla or bool(tf.config.list_physical_devices("GPU")),
        steps_per_execution=_steps_per_execution(options.steps_per_execution, steps_per_epoch),
        run_eagerly=options.debug,
    )
    if options.moving_average_decay > 0:
        averaged = [variable for variable in detector.variables if "float" in variable.dtype]
        model.average = WeightAverage(averaged, options.moving_average_decay)
    return model


def train(
    model: TrainingModel,
    batches_from: Callable[[int], tf.data.Dataset],
    plan: Plan,
    keeper: Keeper,
    *,
    bar: bool,
) -> None:
    """Trains from where `keeper` finds the run to its last epoch.

    Args:
      batches_from: running number of the first sample → batches.

    Raises:
      StoppedError: a signal asked to stop; the checkpoint is written.
    """
    start = keeper.restore(model)
    if start:
        epoch, step = divmod(start, plan.steps_per_epoch)
        logging.info("Continuing after %d epochs%s.", epoch, f" and {step} steps" if step else "")
    progress = Progress(steps=plan.steps_per_epoch, epochs=plan.num_epochs, batch_size=plan.batch_size, bar=bar)
    with stop_requests() as request:
        keeper.stop = request
        keeper.catch_up()
        while start < plan.num_steps and not request:
            epoch, offset = divmod(start, plan.steps_per_epoch)
            # `fit` cannot start inside an epoch: what is left of it makes a fit of its own.
            epochs = epoch + 1 if offset else plan.num_epochs
            progress.first_step = offset
            model.fit(
                batches_from(start * plan.batch_size),
                initial_epoch=epoch,
                epochs=epochs,
                steps_per_epoch=plan.steps_per_epoch - offset,
                verbose=0,
                shuffle=False,
                callbacks=[progress, keeper],
            )
            start = epochs * plan.steps_per_epoch
    if request:
        raise StoppedError(
            f"Stopped after step {keeper.step} of {plan.num_steps}, saved in {keeper.places.last}. "
            "The same command continues there.",
            exit_code=request.exit_code,
        )


def _steps_per_execution(asked: int, steps_per_epoch: int) -> int:
    """Returns the most steps up to `asked` that divide an epoch; Keras would run on beyond the epoch's end."""
    fitting = max(steps for steps in range(1, min(asked, steps_per_epoch) + 1) if steps_per_epoch % steps == 0)
    if fitting != asked:
        logging.info("steps_per_execution is %d: %d do not divide the %d of an epoch.", fitting, asked, steps_per_epoch)
    return fitting


def _frozen(detector: keras.Model, expression: str) -> frozenset[str]:
    """Returns the paths of the variables whose automl names begin with a match of `expression`."""
    if not expression:
        return frozenset()
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise OptionsError(
            f"var_freeze_expr must be a regular expression. Received {expression!r}: {error}; "
            "try '(efficientnet|fpn_cells|resample_p6)', which trains the heads alone.",
            option="var_freeze_expr",
        ) from None
    named = efficientdet.variable_names(detector)
    frozen = frozenset(variable.path for name, variable in named.items() if pattern.match(name))
    trained = {variable.path for variable in detector.trainable_variables} - frozen
    if not frozen or not trained:
        raise OptionsError(
            f"var_freeze_expr must match some variables and leave some to train. Received {expression!r}, which "
            f"matches {len(frozen)} of {len(named)}; names look like {next(iter(named))}.",
            option="var_freeze_expr",
        )
    return frozen
