"""Learning-rate schedule: the learning rate as a function of the step."""

import keras
from efficientdet.schedules import Schedule, learning_rate_at
from efficientdet.types import Tensor

from efficientdet_pipeline.options.optimizer import OptimizerOptions


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Keras learning-rate schedule from a curve and a factor that the run may change."""

    def __init__(self, curve: Schedule, factor: keras.Variable | float = 1.0):
        super().__init__()
        self.curve = curve
        self.factor = factor

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the learning rate of a step."""
        return learning_rate_at(step, self.curve) * self.factor

    def get_config(self) -> dict[str, object]:
        """Returns an empty config: the run's options describe the curve."""
        return {}


def learning_rate(
    options: OptimizerOptions, *, steps_per_epoch: int, factor: keras.Variable | float = 1.0
) -> LearningRate:
    """Returns the run's schedule: linear warm-up, hold, then the curve of the options, times `factor`."""
    schedule = Schedule(
        batch_size=options.batch_size,
        steps_per_epoch=steps_per_epoch,
        num_epochs=options.num_epochs,
        lr_decay_method=options.lr_decay_method,
        learning_rate=options.learning_rate,
        lr_warmup_init=options.lr_warmup_init,
        lr_warmup_epoch=options.lr_warmup_epoch,
        lr_hold_epoch=options.lr_hold_epoch,
        first_lr_drop_epoch=options.first_lr_drop_epoch,
        second_lr_drop_epoch=options.second_lr_drop_epoch,
        poly_lr_power=options.poly_lr_power,
    )
    return LearningRate(schedule, factor)
