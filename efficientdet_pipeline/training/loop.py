"""Takes a run from where it is to its end."""

from collections.abc import Callable

import tensorflow as tf
from absl import logging

from efficientdet_pipeline.errors import StoppedError
from efficientdet_pipeline.training.checkpoint_callback import CheckpointCallback
from efficientdet_pipeline.training.profiler import Profile
from efficientdet_pipeline.training.progress import DataWaitTimer, Progress
from efficientdet_pipeline.training.run_config import RunConfig, steps_that_divide
from efficientdet_pipeline.training.signals import stop_requests
from efficientdet_pipeline.training.train_step import TrainStepModel


def train(
    model: TrainStepModel,
    batches_from: Callable[[int], tf.data.Dataset],
    plan: RunConfig,
    keeper: CheckpointCallback,
    *,
    bar: bool,
) -> None:
    """Trains from where `keeper` finds the run to its last epoch, or until its patience is at an end.

    Args:
      batches_from: running number of the first sample → batches.

    Raises:
      StoppedError: a signal asked to stop; the checkpoint is written.
      DataError: step after step had no finite loss, also after the run had gone back.
    """
    begin = keeper.restore(model)
    if begin:
        epoch, step = divmod(begin, plan.steps_per_epoch)
        logging.info("Continuing after %d epochs%s.", epoch, f" and {step} steps" if step else "")
    # Several devices fetch ahead of the step: what they wait for says nothing of it.
    waiting = DataWaitTimer() if model.num_devices == 1 else None
    progress = Progress(
        steps=plan.steps_per_epoch, epochs=plan.num_epochs, batch_size=plan.batch_size, waiting=waiting, bar=bar
    )
    callbacks = [progress, keeper, *model.callbacks]
    if plan.profile:
        callbacks.append(Profile(keeper.places.tensorboard))
    with stop_requests(plan.grace_seconds) as request, keeper.keeping(request):
        if not keeper.is_done and not request:
            logging.info("Building the training graph; the first step may take minutes.")
            request.is_building = True
        while not keeper.is_done and not request:
            epoch, offset = divmod(keeper.step, plan.steps_per_epoch)
            progress.first_step = offset
            _set_steps_per_execution(model, plan.steps_per_execution, plan.steps_per_epoch - offset)
            batches = batches_from(keeper.step * plan.batch_size)
            model.fit(
                batches if waiting is None else waiting.watch(batches),
                initial_epoch=epoch,
                # `fit` cannot start inside an epoch: what is left of it makes a fit of its own.
                epochs=epoch + 1 if offset else plan.num_epochs,
                steps_per_epoch=plan.steps_per_epoch - offset,
                verbose=0,
                shuffle=False,
                callbacks=callbacks,
            )
            if keeper.must_rewind:
                keeper.rewind()
    if request:
        raise StoppedError(
            f"Stopped after step {keeper.step} of {plan.num_steps}, saved in {keeper.places.last}. "
            "The same command continues there.",
            exit_code=request.exit_code,
        )


def _set_steps_per_execution(model: TrainStepModel, asked: int, steps: int) -> None:
    """Lets executions end where the steps do; what is left of an epoch may not divide as the epoch does."""
    fitting = steps_that_divide(asked, steps)
    if fitting != model.steps_per_execution:
        model.steps_per_execution = fitting
        model.make_train_function(force=True)
    if fitting != asked:
        logging.info("steps_per_execution is %d: %d do not divide the %d steps to take.", fitting, asked, steps)
