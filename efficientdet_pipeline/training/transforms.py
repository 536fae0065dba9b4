"""Model transforms: changes of a network or of its train step, applied by the training model builder.

To add one, write a subclass of `ModelTransform` and a line in `TRANSFORMS`.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import partial

import efficientdet
import keras
import numpy as np
from absl import logging
from efficientdet.checkpoint import block_names
from efficientdet.layers import BatchNormalization

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.compression import ClusterSpec, PruneSpec, QuantizeSpec
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.train_step import TrainStepModel


class ModelTransform:
    """A change of the model; subclasses override the methods that they need."""

    def on_network(self, network: keras.Model) -> None:
        """Called with the network before the training model is built."""

    def on_model(self, model: TrainStepModel) -> None:
        """Called with the training model before its optimizer is built; variables are frozen here."""

    def on_compiled(self, model: TrainStepModel) -> None:
        """Called with the compiled training model; step hooks and callbacks are added here."""


class GradientCheckpointing(ModelTransform):
    """Recomputes the activations of some blocks in the backward pass, which saves memory and takes time."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def on_network(self, network: keras.Model) -> None:
        """Enables it for blocks whose automl name matches the expression.

        Raises:
          OptionsError: it is not a regular expression, or matches no name.
        """
        blocks = block_names(network)
        try:
            names = [name for name in blocks if re.search(self.expression, name)]
        except re.error as error:
            raise OptionsError(
                f"grad_checkpoint must be true, false or a regular expression. Received {self.expression!r}: {error}; "
                "try 'blocks_', which recomputes the backbone's blocks.",
                option="grad_checkpoint",
            ) from None
        if not names:
            raise OptionsError(
                f"grad_checkpoint must match the name of a block. Received {self.expression!r}; "
                f"the names are {_shortened(list(blocks))}.",
                option="grad_checkpoint",
            )
        for part in {id(home): home for home, _ in blocks.values()}.values():
            part.recomputed = frozenset(number for name in names for home, number in [blocks[name]] if home is part)


def _shortened(names: list[str]) -> str:
    """Returns the first and the last name of each numbered series, `cell_0 to cell_2`."""
    rows: dict[str, list[str]] = {}
    for name in names:
        rows.setdefault(name.rstrip("0123456789"), []).append(name)
    return ", ".join(row[0] if len(row) == 1 else f"{row[0]} to {row[-1]}" for row in rows.values())


class BatchNormMomentum(ModelTransform):
    """Sets the momentum of the moving batch statistics."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum

    def on_network(self, network: keras.Model) -> None:
        """Sets it in every layer."""
        for layer in network._flatten_layers():
            if isinstance(layer, BatchNormalization):
                layer.momentum = self.momentum


def batch_norm_momentum(asked: float | None, num_steps: int) -> float:
    """Returns the momentum of the moving batch statistics: automl's 0.99, or a lower one for short runs.

    The moving variance starts at 1, and that of a deep layer may be a thousandth: with 0.99, the initial value still
    dominates after 500 steps, and a trained network detects nothing. Here its weight is e^-20 at the end.
    """
    return asked if asked is not None else min(0.99, max(0.5, 1.0 - 20.0 / num_steps))


class FreezeVariables(ModelTransform):
    """Keeps variables at their initial values during the whole training."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    def on_model(self, model: TrainStepModel) -> None:
        """Freezes the variables whose automl names start with a match of the expression."""
        model.frozen = freeze_by_name(model.network, self.expression)


def freeze_by_name(network: keras.Model, expression: str) -> frozenset[str]:
    """Returns the paths of the variables whose automl names start with a match of `expression`.

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
            "try '(efficientnet|fpn_cells|resample_p6)', which trains the heads only.",
            option="var_freeze_expr",
        ) from None
    named = efficientdet.variable_names(network)
    frozen = frozenset(variable.path for name, variable in named.items() if pattern.match(name))
    trained = {variable.path for variable in network.trainable_variables} - frozen
    if not frozen or not trained:
        raise OptionsError(
            f"var_freeze_expr must match some variables and leave some to train. Received {expression!r}, which "
            f"matches {len(frozen)} of {len(named)}; names look like {next(iter(named))}.",
            option="var_freeze_expr",
        )
    return frozen


def layer_rate_factors(network: keras.Model, decay: float) -> dict[str, float]:
    """Returns the factor of the learning rate of each backbone variable, by path.

    The last block has the factor `decay`, each block below `decay` times that of the block above; the stem the least.
    (Clark et al. 2020, "ELECTRA", for layers of a transformer.)

    Args:
      network: has a backbone with blocks.
      decay: 1 returns no factors: all variables have the same rate.

    Raises:
      OptionsError: the backbone does not consist of blocks.
    """
    if decay == 1.0:
        return {}
    blocks = getattr(getattr(network, "backbone", None), "blocks", None)
    if not blocks:
        raise OptionsError(
            f"lr_layer_decay needs a backbone made of blocks. Received {decay} with {network.name}, which has none; "
            "leave it out, or freeze the backbone for the first epochs with --freeze_backbone_epochs.",
            option="lr_layer_decay",
        )
    factors = {variable.path: decay ** (len(blocks) + 1) for variable in network.backbone.trainable_variables}
    for number, block in enumerate(blocks):
        factors |= {variable.path: decay ** (len(blocks) - number) for variable in block.trainable_variables}
    return factors


class FreezeBackbone(keras.callbacks.Callback):
    """Freezes the backbone in the first epochs; its gradient is then not computed, which is faster.

    Its batch statistics are still updated, as with var_freeze_expr.
    """

    def __init__(self, epochs: int, always: frozenset[str]):
        super().__init__()
        self.epochs = epochs
        self.always = always
        """Paths of the variables that are never trained."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Freezes or unfreezes the backbone, also in a resumed run."""
        model = self.model
        frozen = self.always
        if epoch < self.epochs:
            frozen |= {variable.path for variable in model.network.backbone.trainable_variables}
        if frozen != model.frozen:
            if epoch < self.epochs:
                logging.info("The backbone is frozen up to epoch %d (--freeze_backbone_epochs).", self.epochs)
            else:
                logging.info("From epoch %d on the backbone is trained, too.", epoch + 1)
            model.frozen = frozen
            model.make_train_function(force=True)


class FreezeBackboneFirst(ModelTransform):
    """Trains everything except the backbone in the first epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_compiled(self, model: TrainStepModel) -> None:
        """Adds the callback that freezes and unfreezes the backbone."""
        model.callbacks.append(FreezeBackbone(self.epochs, model.frozen))


class Pruning(ModelTransform):
    """Sets an increasing share of the smallest weights to zero."""

    def __init__(self, spec: PruneSpec, num_steps: int) -> None:
        self.spec, self.num_steps = spec, num_steps

    def on_compiled(self, model: TrainStepModel) -> None:
        """Adds the step hook that masks the weights, and logs the sparsity after each epoch."""
        from efficientdet_pipeline.compression.pruning import MagnitudePruning

        averages = partial(_averages, model)
        pruning = MagnitudePruning(model.network, self.spec, num_steps=self.num_steps, averages=averages)
        model.add_step_hook(pruning)
        model.best_from_step = pruning.final_step
        _log_sparsity(model)


class QuantizationAwareTraining(ModelTransform):
    """Rounds weights and activations as int8 does; learns the ranges of activations in the first epochs."""

    def __init__(self, spec: QuantizeSpec, num_epochs: int) -> None:
        self.spec = spec
        share = spec.observe_epochs
        self.observe_epochs = math.ceil(share * num_epochs) if share < 1 else math.ceil(share)

    def on_compiled(self, model: TrainStepModel) -> None:
        """Makes the rounded network the one that is trained and evaluated."""
        from efficientdet_pipeline.compression.fake_quantization import QuantizedNetwork
        from efficientdet_pipeline.compression.files import RANGES
        from efficientdet_pipeline.compression.kernels import compressible_kernels
        from efficientdet_pipeline.compression.pruning import KeptZeros
        from efficientdet_pipeline.compression.quantized_training import FixRanges, MovingRanges

        network = model.network
        quantized = QuantizedNetwork(network, network.config.image_size, decay=self.spec.ema_decay)
        model.forward = quantized
        ranges = MovingRanges(quantized)
        model.add_step_hook(ranges)
        model.checkpoint_files[RANGES] = ranges
        model.after_loading.append(ranges.load)
        model.callbacks.append(FixRanges(quantized, self.observe_epochs))
        if self.spec.preserve_sparsity:
            model.add_step_hook(KeptZeros(compressible_kernels(network), averages=partial(_averages, model)))
            _log_sparsity(model)


class Clustering(ModelTransform):
    """Computes with kernels of a few different values."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec

    def on_model(self, model: TrainStepModel) -> None:
        """Makes the clustered network the one that is trained and evaluated, and trains the centroids as well."""
        from efficientdet_pipeline.compression.clustering import ClusteredNetwork, ZeroCentroids
        from efficientdet_pipeline.compression.pruning import KeptZeros

        clustered = ClusteredNetwork(model.network, self.spec)
        model.forward = clustered
        model.more_trained += clustered.centroids

        def changed(weights: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            paths = [variable.path for variable in clustered.centroids]
            values = {path: arrays.get(f"average/{path}", arrays[f"run/{path}"]) for path in paths}
            return clustered.clustered_arrays(weights, values)

        model.changed_weights.append(changed)
        model.after_loading.append(clustered.strip)
        if self.spec.preserve_sparsity:
            model.add_step_hook(KeptZeros(clustered.kernels, averages=partial(_averages, model)))
            model.add_step_hook(ZeroCentroids(clustered))
            _log_sparsity(model)


def _log_sparsity(model: TrainStepModel) -> None:
    """Adds the zeros of each kernel to what TensorBoard shows, where there are any."""
    from efficientdet_pipeline.compression.kernels import compressible_kernels, sparsity_by_layer

    kernels = compressible_kernels(model.network)

    def zeros() -> Mapping[str, float]:
        shares = sparsity_by_layer(kernels)
        return shares if shares["sparsity_all"] else {}

    model.epoch_values.append(zeros)


def _averages(model: TrainStepModel) -> Mapping[str, keras.Variable]:
    """Returns the averages of a model's variables by path; empty without an EMA."""
    if model.ema is None:
        return {}
    return {variable.path: shadow for variable, shadow in zip(model.ema.variables, model.ema.shadows, strict=True)}


class MovingAverage(ModelTransform):
    """Averages the weights during training; the average is evaluated, saved as the model, and exported."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_compiled(self, model: TrainStepModel) -> None:
        """Adds the average."""
        model.enable_ema(self.decay)


MakeTransform = Callable[[TrainOptions, int], ModelTransform | None]
"""(options, steps of the whole training) → the transform, or None if the options do not request it."""


def _gradient_checkpointing(options: TrainOptions, num_steps: int) -> ModelTransform | None:
    del num_steps
    blocks = options.hardware.recomputed_blocks
    return GradientCheckpointing(blocks) if blocks else None


def _batch_norm_momentum(options: TrainOptions, num_steps: int) -> ModelTransform:
    return BatchNormMomentum(batch_norm_momentum(options.optimizer.batch_norm_momentum, num_steps))


def _freeze_variables(options: TrainOptions, num_steps: int) -> ModelTransform | None:
    del num_steps
    expression = options.optimizer.var_freeze_expr
    return FreezeVariables(expression) if expression else None


def _freeze_backbone(options: TrainOptions, num_steps: int) -> ModelTransform | None:
    del num_steps
    epochs = options.optimizer.freeze_backbone_epochs
    return FreezeBackboneFirst(epochs) if epochs else None


def _pruning(options: TrainOptions, num_steps: int) -> ModelTransform | None:
    spec = options.compression.prune_spec()
    return Pruning(spec, num_steps) if spec is not None else None


def _quantization(options: TrainOptions, num_steps: int) -> ModelTransform | None:
    del num_steps
    spec = options.compression.quantize_spec()
    return QuantizationAwareTraining(spec, options.optimizer.num_epochs) if spec is not None else None


def _clustering(options: TrainOptions, num_steps: int) -> ModelTransform | None:
    del num_steps
    spec = options.compression.cluster_spec()
    return Clustering(spec) if spec is not None else None


def _moving_average(options: TrainOptions, num_steps: int) -> ModelTransform | None:
    del num_steps
    decay = options.optimizer.moving_average_decay
    return MovingAverage(decay) if decay > 0 else None


TRANSFORMS: tuple[MakeTransform, ...] = (
    _gradient_checkpointing,
    _batch_norm_momentum,
    _freeze_variables,
    _freeze_backbone,
    _pruning,
    _quantization,
    _clustering,
    # Last: it averages the weights after the other hooks.
    _moving_average,
)
"""Builders of the transforms of a training from its options, in the order of application."""
