"""Callback that ends all processes of a training after the same epoch."""

import signal

import keras

from efficientdet_pipeline.training.distributed import ProcessGroup, TrainingOver


class StopSync(keras.callbacks.Callback):
    """Synchronizes early stopping: only the chief evaluates and decides."""

    def __init__(self, process_group: ProcessGroup):
        super().__init__()
        self.process_group = process_group

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Forwards signals to the chief, which saves and then stops all processes."""
        if not self.process_group.is_chief:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.process_group.forward_signal)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Waits for the decision of the chief; its evaluation may take a while.

        Raises:
          TrainingOver: the chief has ended the training.
        """
        stops = self.model.stop_training
        # Events that stop all processes, such as a rewind after bad steps, need no message.
        if self.process_group.sync_stop(stops) and not stops:
            raise TrainingOver
