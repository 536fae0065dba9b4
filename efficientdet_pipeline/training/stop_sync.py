"""Callback that makes all processes of a training end after the same epoch."""

import signal
from typing import Any

import keras

from efficientdet_pipeline.training.distributed import ProcessGroup, TrainingOver


class StopSync(keras.callbacks.Callback):
    """Follows the leading process, which alone evaluates and so knows when its patience is at an end."""

    def __init__(self, company: ProcessGroup):
        super().__init__()
        self.company = company

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves it to the leading process to obey signals: it saves, and then ends all."""
        if not self.company.is_chief:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.company.forward)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Waits for the word of the leading process; its evaluation may take a while.

        Raises:
          TrainingOver: it has ended the training.
        """
        stops = self.model.stop_training
        # What stops all alike, such as going back after bad steps, needs no word.
        if self.company.agreed(stops) and not stops:
            raise TrainingOver
