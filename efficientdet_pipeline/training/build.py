"""Training model builder: transforms, optimizer and schedule."""

import importlib
from collections.abc import Sequence

import keras
from absl import logging
from efficientdet.training_model import Objective

from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import strategy
from efficientdet_pipeline.training.lr_schedule import learning_rate
from efficientdet_pipeline.training.optimizers import build_optimizer
from efficientdet_pipeline.training.run_config import steps_that_divide
from efficientdet_pipeline.training.train_step import StepOptions, TrainStepModel
from efficientdet_pipeline.training.transforms import TRANSFORMS, MakeTransform, layer_rate_factors


def build_training_model(
    network: keras.Model,
    objective: Objective,
    options: TrainOptions,
    *,
    steps_per_epoch: int,
    transforms: Sequence[MakeTransform] = TRANSFORMS,
) -> TrainStepModel:
    """Returns a network ready for `loop.train`, with its optimizer built and all transforms applied.

    Args:
      network: a detector, or another network with `set_drop_path` and `next_drop_path_seed`.
      objective: the losses to minimize.
      options: of the training.
      steps_per_epoch: for the schedule.
      transforms: builds the model transforms of the options.
    """
    given = options.optimizer
    num_steps = given.num_epochs * steps_per_epoch
    chosen = [each for make in transforms if (each := make(options, num_steps)) is not None]
    network.set_drop_path(options.seed.tf_random_seed, 0)
    strategy.share_batch_statistics(network)
    for each in chosen:
        each.on_network(network)
    step = StepOptions(
        clip_norm=given.clip_gradients_norm,
        accumulate_steps=options.hardware.accumulate_steps,
        positives_momentum=given.positives_momentum,
        loss_scale=options.hardware.loss_scale if keras.config.dtype_policy().name == "mixed_float16" else 0.0,
    )
    # AdamW has its own weight decay.
    weight_decay = 0.0 if given.optimizer == "adamw" else given.weight_decay
    model = _training_model_class()(network, objective, step, weight_decay=weight_decay)
    for each in chosen:
        each.on_model(model)
    model.schedule = learning_rate(given, steps_per_epoch=steps_per_epoch, factor=model.learning_rate_factor)
    factors = layer_rate_factors(network, given.lr_layer_decay)
    if factors:
        logging.info(
            "The backbone has a lower learning rate than the other layers (--lr_layer_decay): from %.2g times theirs "
            "in its last block to %.2g times in its first layer.",
            max(factors.values()),
            min(factors.values()),
        )
    optimizer = build_optimizer(given, model.schedule, model.trained_variables(), rate_factors=factors)
    model.compile(
        optimizer=optimizer,
        # With "auto", Keras would use XLA on the CPU, which is about eight times slower.
        jit_compile=options.hardware.use_xla or strategy.uses_jit(),
        steps_per_execution=steps_that_divide(options.hardware.steps_per_execution, steps_per_epoch),
        run_eagerly=options.general.debug,
    )
    for each in chosen:
        each.on_compiled(model)
    return model


def _training_model_class() -> type[TrainStepModel]:
    """Returns the backend's training model class; the other backend may not be installed."""
    module = "train_step_jax" if keras.backend.backend() == "jax" else "train_step_tf"
    return importlib.import_module(f"efficientdet_pipeline.training.{module}").TrainingModel
