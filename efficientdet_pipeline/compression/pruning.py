"""Magnitude pruning while training, by the algorithm of tensorflow-model-optimization (Zhu and Gupta, 2017).

Masks are variables of the training: they are in its checkpoints, and a resumed
run goes on with them. The trained weights hold zeros, and an export needs
nothing else.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from efficientdet_pipeline.compression.kernels import (
    SPARSE,
    Kernel,
    compressible_kernels,
    large_kernels,
    overall_sparsity,
    sparsity,
)
from efficientdet_pipeline.compression.tfmot import import_tfmot
from efficientdet_pipeline.options.compression import PruneSpec

if TYPE_CHECKING:
    from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning
    from tensorflow_model_optimization.python.core.sparsity.keras.pruning_schedule import PruningSchedule

UPDATES = 20
"""Updates of the masks in a schedule whose frequency is not given, at least; tfmot's 100 steps suit long trainings."""
MAX_FREQUENCY = 100
MAX_SPARSITY = 0.95
"""Of the large kernels, for zeros that the others are spared."""

Averages = Callable[[], Mapping[str, keras.Variable]]
"""→ the averages of variables, by the variables' paths."""


class MaskedKernels:
    """Kernels whose zeros stay zero, and their masks: a `StepHook` of the training.

    The averages of the kernels are masked as well: an average is never exactly
    zero by itself.
    """

    def __init__(
        self, kernels: Sequence[Kernel], *, prefix: str, averages: Averages | None = None, dtype: str = "float32"
    ) -> None:
        self.kernels = list(kernels)
        self._averages = averages
        self.masks = [
            keras.Variable(
                np.ones(kernel.variable.shape, dtype),
                trainable=False,
                dtype=dtype,
                aggregation="only_first_replica",
                name=f"{prefix}_mask_{index}",
            )
            for index, kernel in enumerate(self.kernels)
        ]

    @property
    def state(self) -> Sequence[keras.Variable]:
        """The masks."""
        return self.masks

    def update(self, step: tf.Tensor) -> None:
        """Sets the masked weights to zero after step number `step` (0-based)."""
        del step
        averages = self._averages() if self._averages is not None else {}
        for kernel, mask in zip(self.kernels, self.masks, strict=True):
            factors = tf.cast(mask.value, tf.float32)
            kernel.variable.assign(kernel.variable.value * factors)
            if kernel.variable.path in averages:
                average = averages[kernel.variable.path]
                average.assign(average.value * factors)


class KeptZeros(MaskedKernels):
    """Keeps the zeros that pruned kernels have now; kernels with fewer than a tenth of zeros are left alone.

    Every kernel has a mask, because a training that is resumed is built before its weights are known.
    """

    def __init__(self, kernels: Sequence[Kernel], *, averages: Averages | None = None) -> None:
        super().__init__(kernels, prefix="kept", averages=averages, dtype="uint8")
        for kernel, mask in zip(self.kernels, self.masks, strict=True):
            if sparsity(kernel) >= SPARSE:
                mask.assign((np.asarray(kernel.variable.value) != 0).astype(np.uint8))


class MagnitudePruning(MaskedKernels):
    """Sets the smallest weights of kernels to zero, more and more of them, on tfmot's schedules.

    Without a pattern, the large kernels lose as many weights as there are to
    be zeros in all kernels, and the others stay whole.

    Blocks need kernels that are matrices, that is 1x1 convolutions and dense
    layers; the others are pruned weight by weight. m zeros of n are input
    channels of full and 1x1 convolutions; depthwise kernels have none to choose
    from and stay whole.

    Args:
      network: any Keras model with its trained weights.
      spec: what to prune and when.
      num_steps: of the whole training, for a schedule whose end is not given.
      averages: averages of variables that are evaluated in their place.
    """

    def __init__(
        self, network: keras.Model, spec: PruneSpec, *, num_steps: int, averages: Averages | None = None
    ) -> None:
        kernels, spec = pruned_kernels(network, spec)
        super().__init__(kernels, prefix="prune", averages=averages)
        self.spec = spec
        """Its sparsity is that of each pruned kernel."""
        self.schedule = pruning_schedule(spec, num_steps)
        name, last = _last_update(self.schedule, spec)
        self.final_step = min(last + 1, num_steps)
        """Number of steps after which the weights have their final sparsity."""
        if last >= num_steps:
            logging.warning(
                "Pruning reaches its sparsity after step %d (%s), counted from 0, and the training has %d: the weights "
                "will have fewer zeros than asked for. Train for more epochs, or set an earlier %s (--prune).",
                last, name, num_steps, name,
            )  # fmt: skip
        self.thresholds = [
            keras.Variable(0.0, trainable=False, dtype="float32", aggregation="only_first_replica",
                           name=f"prune_threshold_{index}")
            for index in range(len(kernels))
        ]  # fmt: skip
        blocks = [number for number, kernel in enumerate(kernels) if _has_blocks(kernel, spec.block_size)]
        if spec.block_size == (1, 1) or spec.sparsity_m_by_n is not None:
            blocks = []
        self._parts = [
            (blocks, spec.block_size),
            ([each for each in range(len(kernels)) if each not in blocks], (1, 1)),
        ]
        if blocks and len(blocks) < len(kernels):
            logging.info(
                "Pruning %d kernels in blocks of %dx%d, and %d, which have no such blocks, weight by weight.",
                len(blocks), *spec.block_size, len(kernels) - len(blocks),
            )  # fmt: skip

    @property
    def state(self) -> Sequence[keras.Variable]:
        """Masks and thresholds."""
        return [*self.masks, *self.thresholds]

    def update(self, step: tf.Tensor) -> None:
        """Updates the masks where the schedule says so after step number `step` (0-based), and applies them."""
        number = tf.cast(step, tf.int32)
        if self.spec.sparsity_m_by_n is not None:
            # tfmot computes these masks once, at its step 1.
            number = number - self.spec.begin_step + 1
        for numbers, block_size in self._parts:
            if numbers:
                self._pruning(numbers, block_size, number).conditional_mask_update()
        super().update(step)

    def _pruning(self, numbers: Sequence[int], block_size: tuple[int, int], step: tf.Tensor) -> "Pruning":
        return _pruning_class()(
            lambda: step,
            [
                (self.kernels[number].variable.value, self.masks[number].value, self.thresholds[number].value)
                for number in numbers
            ],
            self.schedule,
            block_size,
            self.spec.block_pooling_type,
            self.spec.sparsity_m_by_n,
        )


def pruned_kernels(network: keras.Model, spec: PruneSpec) -> tuple[list[Kernel], PruneSpec]:
    """Returns the kernels that are pruned, and the spec with the sparsity of each of them.

    Args:
      network: any Keras model.
      spec: its sparsity is that of each kernel that its pattern names; without a pattern, of all kernels together.
    """
    every = compressible_kernels(network, spec.pattern)
    kernels = every if spec.pattern else large_kernels(every)
    if spec.sparsity_m_by_n is not None:
        return [each for each in kernels if not each.is_depthwise and len(each.variable.shape) in (2, 4)], spec
    factor = _num_weights(every) / max(1, _num_weights(kernels))
    if not kernels or factor * spec.sparsity > MAX_SPARSITY:
        logging.info("Pruning all %d kernels, since the large ones do not suffice.", len(every))
        return every, spec
    if len(kernels) < len(every):
        logging.info(
            "Pruning %.1f %% of the weights of the %d largest kernels, which is %.1f %% of the weights of all %d; "
            "depthwise and small kernels stay whole (pattern=. prunes every kernel).",
            100 * factor * spec.sparsity, len(kernels), 100 * spec.sparsity, len(every),
        )  # fmt: skip
    initial = factor * spec.initial_sparsity
    return kernels, dataclasses.replace(spec, sparsity=factor * spec.sparsity, initial_sparsity=initial)


def _num_weights(kernels: Sequence[Kernel]) -> int:
    return sum(int(np.prod(kernel.variable.shape)) for kernel in kernels)


def pruning_schedule(spec: PruneSpec, num_steps: int) -> "PruningSchedule":
    """Returns tfmot's schedule.

    Its last update is at its last step, so that the final sparsity is reached
    whatever the frequency.
    """
    schedules = import_tfmot("sparsity.keras.pruning_schedule")
    end = spec.end_step if spec.end_step is not None else max(spec.begin_step + 1, num_steps // 2)
    length = end - spec.begin_step
    frequency = spec.frequency or max(1, min(MAX_FREQUENCY, length // UPDATES))
    if spec.schedule == "constant":
        last = -1 if spec.end_step is None else end
        return schedules.ConstantSparsity(spec.sparsity, spec.begin_step, end_step=last, frequency=frequency)
    end = spec.begin_step + max(1, length // frequency) * frequency
    return schedules.PolynomialDecay(
        spec.initial_sparsity, spec.sparsity, spec.begin_step, end, power=spec.power, frequency=frequency
    )


def _last_update(schedule: "PruningSchedule", spec: PruneSpec) -> tuple[str, int]:
    """Returns the number, from 0, of the step after which the weights have their final sparsity, and what sets it."""
    is_at_once = spec.schedule == "constant" or spec.sparsity_m_by_n is not None
    return ("begin_step", schedule.begin_step) if is_at_once else ("end_step", schedule.end_step)


def prune(network: keras.Model, spec: PruneSpec) -> float:
    """Prunes a network at once, to the final sparsity, and returns the share of zeros.

    The share is that of the kernels that the pattern names; of all kernels without one.

    Args:
      network: any Keras model with its trained weights, which are changed.
      spec: its sparsity, blocks and pattern count; its schedule does not.
    """
    at_once = PruneSpec(
        sparsity=spec.sparsity,
        schedule="constant",
        block_size=spec.block_size,
        block_pooling_type=spec.block_pooling_type,
        sparsity_m_by_n=spec.sparsity_m_by_n,
        pattern=spec.pattern,
    )
    pruning = MagnitudePruning(network, at_once, num_steps=1)
    pruning.update(tf.constant(0))
    return overall_sparsity(compressible_kernels(network, spec.pattern))


def _has_blocks(kernel: Kernel, block_size: tuple[int, int]) -> bool:
    """Returns whether tfmot's blocks fit a kernel: a matrix of two rows and two columns of blocks, or more."""
    sides = [side for side in kernel.variable.shape if side > 1]
    is_matrix = not kernel.is_depthwise and len(sides) == 2
    return is_matrix and all(side > block for side, block in zip(sides, block_size, strict=True))


@functools.cache
def _pruning_class() -> "type[Pruning]":
    base: type = import_tfmot("sparsity.keras.pruning_impl").Pruning

    class SqueezedPruning(base):
        """tfmot's pruning, whose blocks also fit 1x1 convolutions: its computation squeezes them, not its check."""

        def _validate_block(self) -> None:
            """Accepts the kernels, which `_has_blocks` has chosen."""

    return SqueezedPruning
