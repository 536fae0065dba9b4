"""Training model builder: parameter freezing, gradient checkpointing, optimizer, EMA."""

import importlib
import re
from typing import Any

import efficientdet
import keras
from efficientdet.checkpoint import block_names
from efficientdet.config import DetectorConfig
from efficientdet.layers import BatchNormalization
from efficientdet.losses import LossOptions

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import strategy
from efficientdet_pipeline.training.lr_schedule import learning_rate
from efficientdet_pipeline.training.optimizers import build_optimizer
from efficientdet_pipeline.training.run_config import steps_that_divide
from efficientdet_pipeline.training.train_step import StepOptions, TrainStepModel


def freeze_by_name(detector: keras.Model, expression: str) -> frozenset[str]:
    """Returns the paths of the variables whose automl names begin with a match of `expression`.

    Raises:
      OptionsError: it is not a regular expression, or matches none or all of them.
    """
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


class FreezeBackbone(keras.callbacks.Callback):
    """Freezes the backbone for the first epochs; its gradient is not computed then, which is faster.

    Its batch statistics are still updated, as with var_freeze_expr.
    """

    def __init__(self, epochs: int, always: frozenset[str]):
        super().__init__()
        self.epochs = epochs
        self.always = always
        """Paths of the variables that are never trained."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Freezes or unfreezes the backbone, also when a run is resumed."""
        model = self.model
        frozen = self.always
        if epoch < self.epochs:
            frozen |= {variable.path for variable in model.detector.backbone.trainable_variables}
        if frozen != model.frozen:
            model.frozen = frozen
            model.make_train_function(force=True)


def checkpoint_gradients_by_name(detector: keras.Model, expression: str) -> None:
    """Enables gradient checkpointing for blocks whose automl name matches `expression`; empty: for none.

    Raises:
      OptionsError: it is not a regular expression, or matches no name.
    """
    blocks = block_names(detector)
    try:
        names = [name for name in blocks if expression and re.search(expression, name)]
    except re.error as error:
        raise OptionsError(
            f"grad_checkpoint must be true, false or a regular expression. Received {expression!r}: {error}; "
            "try 'blocks_', which recomputes the backbone's blocks.",
            option="grad_checkpoint",
        ) from None
    if expression and not names:
        raise OptionsError(
            f"grad_checkpoint must match the name of a block. Received {expression!r}; "
            f"the names are {_shortened(list(blocks))}.",
            option="grad_checkpoint",
        )
    for part in (detector.backbone, detector.neck, detector.class_head, detector.box_head):
        if part is not None:
            part.recomputed = frozenset(number for name in names for home, number in [blocks[name]] if home is part)


def _shortened(names: list[str]) -> str:
    """Returns the first and the last name of each numbered series, `cell_0 to cell_2`."""
    rows: dict[str, list[str]] = {}
    for name in names:
        rows.setdefault(name.rstrip("0123456789"), []).append(name)
    return ", ".join(row[0] if len(row) == 1 else f"{row[0]} to {row[-1]}" for row in rows.values())


def build_training_model(
    detector: keras.Model,
    config: DetectorConfig,
    options: TrainOptions,
    *,
    steps_per_epoch: int,
    class_weights: tuple[float, ...] = (),
) -> TrainStepModel:
    """Returns the detector ready for `loop.train`, with optimizer and EMA built.

    Args:
      class_weights: loss weight of each class, by class index; empty: all equal.
    """
    given = options.optimizer
    loss = LossOptions(
        alpha=given.alpha,
        gamma=given.gamma,
        label_smoothing=given.label_smoothing,
        delta=given.delta,
        box_loss_weight=given.box_loss_weight,
        iou_loss_type=given.iou_loss_type or None,
        iou_loss_weight=given.iou_loss_weight,
        class_weights=class_weights,
        # AdamW decays the weights itself.
        weight_decay=0.0 if given.optimizer == "adamw" else given.weight_decay,
    )
    detector.set_drop_path(options.seed.tf_random_seed, 0)
    checkpoint_gradients_by_name(detector, options.hardware.recomputed_blocks)
    strategy.share_batch_statistics(detector)
    momentum = batch_norm_momentum(given.batch_norm_momentum, given.num_epochs * steps_per_epoch)
    for layer in detector._flatten_layers():
        if isinstance(layer, BatchNormalization):
            layer.momentum = momentum
    step = StepOptions(
        clip_norm=given.clip_gradients_norm,
        accumulate_steps=options.hardware.accumulate_steps,
        positives_momentum=given.positives_momentum,
        loss_scale=options.hardware.loss_scale if keras.config.dtype_policy().name == "mixed_float16" else 0.0,
    )
    model = _training_model_class()(detector, config, loss, step)
    model.frozen = freeze_by_name(detector, given.var_freeze_expr)
    model.schedule = learning_rate(given, steps_per_epoch=steps_per_epoch, factor=model.learning_rate_factor)
    optimizer = build_optimizer(given, model.schedule, model.trained_variables())
    if given.freeze_backbone_epochs:
        model.callbacks.append(FreezeBackbone(given.freeze_backbone_epochs, model.frozen))
    model.compile(
        optimizer=optimizer,
        # With "auto", Keras would use XLA on the CPU, which is about eight times slower here.
        jit_compile=options.hardware.use_xla or strategy.uses_jit(),
        steps_per_execution=steps_that_divide(options.hardware.steps_per_execution, steps_per_epoch),
        run_eagerly=options.general.debug,
    )
    if given.moving_average_decay > 0:
        model.enable_ema(given.moving_average_decay)
    return model


def batch_norm_momentum(asked: float | None, num_steps: int) -> float:
    """Returns the momentum of the moving batch statistics, automl's 0.99 or what a short run needs.

    The moving variance starts at 1, and that of a deep layer may be a thousandth: with 0.99, the initial value still
    dominates after 500 steps, and a trained network detects nothing. Here its weight is e^-20 at the end.
    """
    return asked if asked is not None else min(0.99, max(0.5, 1.0 - 20.0 / num_steps))


def _training_model_class() -> type[TrainStepModel]:
    """Returns the backend's training model class; the other backend may not be installed."""
    module = "train_step_jax" if keras.backend.backend() == "jax" else "train_step_tf"
    return importlib.import_module(f"efficientdet_pipeline.training.{module}").TrainingModel
