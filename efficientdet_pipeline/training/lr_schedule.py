"""Learning-rate schedule: the learning rate as a function of the step."""

import dataclasses
from typing import Any

import keras
from efficientdet.schedules import Schedule, learning_rate_at


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Keras learning-rate schedule from a curve and a factor that the run may change."""

    def __init__(self, curve: Schedule, factor: Any = 1.0):
        super().__init__()
        self.curve = curve
        self.factor = factor

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of a step."""
        return learning_rate_at(step, self.curve) * self.factor

    def get_config(self) -> dict[str, Any]:
        """Returns an empty config: the run's options describe the curve."""
        return {}


def learning_rate(options: Any, *, steps_per_epoch: int, factor: Any = 1.0) -> LearningRate:
    """Returns the run's schedule: linear warm-up, then the curve of the options, times `factor`."""
    names = [field.name for field in dataclasses.fields(Schedule) if hasattr(options, field.name)]
    given = {name: getattr(options, name) for name in names}
    return LearningRate(Schedule(steps_per_epoch=steps_per_epoch, **given), factor)
