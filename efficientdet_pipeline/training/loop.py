"""Training loop: runs `fit` from the resumed step to the last epoch."""

from collections.abc import Callable

import tensorflow as tf
from absl import logging

from efficientdet_pipeline.errors import StoppedError
from efficientdet_pipeline.training import strategy
from efficientdet_pipeline.training.checkpoint_callback import CheckpointCallback
from efficientdet_pipeline.training.first_step import FirstStep
from efficientdet_pipeline.training.profiler import Profile
from efficientdet_pipeline.training.progress import DataWaitTimer, Progress
from efficientdet_pipeline.training.run_config import RunConfig, steps_that_divide
from efficientdet_pipeline.training.signals import stop_requests
from efficientdet_pipeline.training.train_step import TrainStepModel
from tfrmod.counted import counted


def train(
    model: TrainStepModel,
    batches_from: Callable[[int], tf.data.Dataset],
    config: RunConfig,
    callback: CheckpointCallback,
    *,
    bar: bool,
) -> None:
    """Trains from the last checkpoint to the last epoch, or until early stopping.

    Args:
      batches_from: index of the first sample → batches.

    Raises:
      StoppedError: a signal requested a stop; the checkpoint is written.
      DataError: too many consecutive steps had non-finite losses, also after a rewind.
    """
    first_step = callback.restore(model)
    if first_step:
        epoch, step = divmod(first_step, config.steps_per_epoch)
        logging.info("Resuming after %s%s.", counted(epoch, "epoch"), f" and {counted(step, 'step')}" if step else "")
    # With several devices the data are prefetched, so that the wait is not that of the step.
    data_wait = DataWaitTimer() if model.num_devices == 1 else None
    progress = Progress(
        steps=config.steps_per_epoch,
        epochs=config.num_epochs,
        batch_size=config.batch_size,
        data_wait=data_wait,
        bar=bar,
    )
    callbacks = [progress, FirstStep(progress), callback, *model.callbacks]
    if config.profile:
        callbacks.append(Profile(callback.paths.tensorboard))
    with stop_requests(config.grace_seconds) as request, callback.session(request):
        if not callback.is_done and not request:
            logging.info("%s; the first step may take minutes.", strategy.compilation().verb)
            request.is_building = True
        while not callback.is_done and not request:
            epoch, offset = divmod(callback.step, config.steps_per_epoch)
            progress.first_step = offset
            _set_steps_per_execution(model, config.steps_per_execution, config.steps_per_epoch - offset)
            batches = batches_from(callback.step * config.batch_size)
            model.fit(
                batches if data_wait is None else data_wait.watch(batches),
                initial_epoch=epoch,
                # `fit` cannot start inside an epoch: the remaining steps run in their own `fit`.
                epochs=epoch + 1 if offset else config.num_epochs,
                steps_per_epoch=config.steps_per_epoch - offset,
                verbose=0,
                shuffle=False,
                callbacks=callbacks,
            )
            if callback.must_rewind:
                callback.rewind()
    if request:
        raise StoppedError(
            f"Stopped after step {callback.step} of {config.num_steps}, saved in {callback.paths.last}. "
            "The same command resumes from it.",
            exit_code=request.exit_code,
        )


def _set_steps_per_execution(model: TrainStepModel, requested: int, steps: int) -> None:
    """Reduces steps_per_execution to a divisor of the remaining steps of the epoch."""
    fitting = steps_that_divide(requested, steps)
    if fitting != model.steps_per_execution:
        model.steps_per_execution = fitting
        model.make_train_function(force=True)
    if fitting != requested:
        logging.info(
            "steps_per_execution is reduced to %d: %d does not divide the %d remaining steps.",
            fitting,
            requested,
            steps,
        )
