"""Puts a training model together: the detector, its loss, optimizer and average, and what each backend needs."""

import importlib
from typing import Any

import keras
from efficientdet.config import DetectorConfig
from efficientdet.layers import BatchNormalization
from efficientdet.losses import LossOptions

from efficientdet_pipeline.training import devices
from efficientdet_pipeline.training.freezing import BackboneRest, frozen_by_name
from efficientdet_pipeline.training.learning import RunLearner, StepOptions
from efficientdet_pipeline.training.optimizers import build_optimizer
from efficientdet_pipeline.training.plan import steps_that_divide
from efficientdet_pipeline.training.recomputing import recompute_by_name
from efficientdet_pipeline.training.schedule import learning_rate


def build_training_model(
    detector: keras.Model,
    config: DetectorConfig,
    options: Any,
    *,
    steps_per_epoch: int,
    class_weights: tuple[float, ...] = (),
) -> RunLearner:
    """Returns the detector ready for `fit.train`, its optimizer and average built.

    Args:
      class_weights: how much an object of each class counts, by class index;
        empty: all alike.
    """
    loss = LossOptions(
        alpha=options.alpha,
        gamma=options.gamma,
        label_smoothing=options.label_smoothing,
        delta=options.delta,
        box_loss_weight=options.box_loss_weight,
        iou_loss_type=options.iou_loss_type or None,
        iou_loss_weight=options.iou_loss_weight,
        class_weights=class_weights,
        # AdamW decays the weights itself.
        weight_decay=0.0 if options.optimizer == "adamw" else options.weight_decay,
    )
    detector.set_drop_path(options.tf_random_seed, 0)
    recompute_by_name(detector, options.recomputed_blocks)
    devices.share_batch_statistics(detector)
    momentum = statistics_momentum(options.batch_norm_momentum, options.num_epochs * steps_per_epoch)
    for layer in detector._flatten_layers():
        if isinstance(layer, BatchNormalization):
            layer.momentum = momentum
    step = StepOptions(
        clip_norm=options.clip_gradients_norm,
        accumulate_steps=options.accumulate_steps,
        positives_momentum=options.positives_momentum,
        loss_scale=options.loss_scale if keras.config.dtype_policy().name == "mixed_float16" else 0.0,
    )
    model = _learner()(detector, config, loss, step)
    model.frozen = frozen_by_name(detector, options.var_freeze_expr)
    model.schedule = learning_rate(options, steps_per_epoch=steps_per_epoch, factor=model.learning_rate_factor)
    optimizer = build_optimizer(options, model.schedule, model.trained_variables())
    if options.freeze_backbone_epochs:
        model.callbacks.append(BackboneRest(options.freeze_backbone_epochs, model.frozen))
    model.compile(
        optimizer=optimizer,
        # Left on "auto" Keras would compile for the CPU, where XLA is about eight times slower here.
        jit_compile=options.use_xla or devices.are_compiled_for(),
        steps_per_execution=steps_that_divide(options.steps_per_execution, steps_per_epoch),
        run_eagerly=options.debug,
    )
    if options.moving_average_decay > 0:
        model.keep_average(options.moving_average_decay)
    return model


def statistics_momentum(asked: float | None, num_steps: int) -> float:
    """Returns the momentum of the moving batch statistics, automl's 0.99 or what a short run needs.

    The variance begins at 1, and that of a deep layer may be a thousandth: with 0.99, the start still outweighs the
    data after 500 steps, and a network that has learned detects nothing. Here it weighs e^-20 at the end.
    """
    return asked if asked is not None else min(0.99, max(0.5, 1.0 - 20.0 / num_steps))


def _learner() -> type[RunLearner]:
    """Returns the backend's own learner; the other backend may not be there to import."""
    page = "step_jax" if keras.backend.backend() == "jax" else "step_tensorflow"
    return importlib.import_module(f"efficientdet_pipeline.training.{page}").TrainingModel
