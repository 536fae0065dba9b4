"""Learning-rate schedules as plain functions.

Every schedule has a linear warm-up, may stay at its peak, and then decays.
Rates are given for a batch of 64 images and scale linearly with the batch size,
the start of the warm-up too.
"""

import math
from dataclasses import dataclass

from keras import ops

from efficientdet.types import Tensor

METHODS = ("cosine", "stepwise", "polynomial", "constant")

IMAGES_PER_RATE = 64
"""Batch size for which learning rates are given."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning-rate schedule; names and defaults are automl's.

    Raises:
      ValueError: an unknown lr_decay_method.
    """

    batch_size: int
    """Images per step, over all devices."""
    steps_per_epoch: int
    num_epochs: float
    lr_decay_method: str = "cosine"
    """One of `METHODS`."""
    learning_rate: float = 0.08
    """Peak rate at the end of the warm-up, for 64 images per step."""
    lr_warmup_init: float = 0.008
    """Rate at the start of the warm-up, for 64 images per step."""
    lr_warmup_epoch: float = 1.0
    lr_hold_epoch: float = 0.0
    """Epochs at the peak after the warm-up, before "cosine" and "polynomial" decay. Not in automl."""
    first_lr_drop_epoch: float = 200.0
    """Epoch at which "stepwise" drops to a tenth."""
    second_lr_drop_epoch: float = 250.0
    """Epoch at which "stepwise" drops to a hundredth."""
    poly_lr_power: float = 0.9
    """Exponent of "polynomial"; 1 is a straight line."""
    compat: str | None = None
    """"automl": the warm-up starts at lr_warmup_init whatever the batch size, so that small batches start above their
    peak; the decay is computed as if there were no warm-up, so that the rate drops where the warm-up ends, and the
    cosine reaches its minimum before the end and rises again."""

    def __post_init__(self) -> None:
        if self.lr_decay_method not in METHODS:
            raise ValueError(f"lr_decay_method must be one of {', '.join(METHODS)}. Received {self.lr_decay_method!r}.")
        if self.compat not in (None, "", "automl"):
            raise ValueError(f"compat must be 'automl' or None. Received {self.compat!r}.")

    @property
    def peak(self) -> float:
        """The rate at the end of the warm-up."""
        return self.learning_rate * self.batch_size / IMAGES_PER_RATE

    @property
    def start(self) -> float:
        """The rate at step 0."""
        return self.lr_warmup_init * (1.0 if self.compat == "automl" else self.batch_size / IMAGES_PER_RATE)

    @property
    def warmup_steps(self) -> int:
        """Number of warm-up steps."""
        return int(self.lr_warmup_epoch * self.steps_per_epoch)

    @property
    def decay_start(self) -> int:
        """The first step of the decay, after the warm-up and the epochs at the peak."""
        return self.warmup_steps + int(self.lr_hold_epoch * self.steps_per_epoch)

    @property
    def total_steps(self) -> int:
        """Number of steps of the run."""
        return int(self.num_epochs * self.steps_per_epoch)


def learning_rate_at(step: Tensor, schedule: Schedule) -> Tensor:
    """Returns the learning rate of a step, or of an array of steps, float32.

    >>> learning_rate_at(0, Schedule(batch_size=64, steps_per_epoch=100, num_epochs=30))
    0.008
    """
    step = ops.cast(step, "float32")
    warmup_share = step / max(schedule.warmup_steps, 1)
    warming_up = schedule.start + (schedule.peak - schedule.start) * warmup_share
    return ops.where(step < schedule.warmup_steps, warming_up, schedule.peak * _share_of_peak(step, schedule))


def _share_of_peak(step: Tensor, schedule: Schedule) -> Tensor:
    """Returns the fraction of the peak rate, 1 to 0, at a step after the warm-up."""
    if schedule.lr_decay_method == "constant":
        return ops.ones_like(step)
    if schedule.lr_decay_method == "stepwise":
        first, second = (
            int(epoch * schedule.steps_per_epoch)
            for epoch in (schedule.first_lr_drop_epoch, schedule.second_lr_drop_epoch)
        )
        return ops.where(step < first, 1.0, ops.where(step < second, 0.1, 0.01))
    is_cosine = schedule.lr_decay_method == "cosine"
    num_steps = max(schedule.total_steps - schedule.decay_start, 1)
    # Computed from the remaining steps: one minus a fraction near one would lose precision.
    if schedule.compat == "automl":
        num_steps = num_steps if is_cosine else max(schedule.total_steps, 1)
        left = (num_steps - step) / num_steps
    else:
        left = ops.clip((schedule.decay_start + num_steps - step) / num_steps, 0.0, 1.0)
    if is_cosine:
        return 0.5 * (1.0 - ops.cos(math.pi * left))
    return ops.power(ops.maximum(left, 0.0), schedule.poly_lr_power)
