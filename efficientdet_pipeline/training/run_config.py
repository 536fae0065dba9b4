"""What a run is to be, how it is kept, and where."""

from dataclasses import dataclass
from pathlib import Path


def steps_that_divide(asked: int, steps: int) -> int:
    """Returns the most steps up to `asked` that divide `steps`; Keras would run on beyond their end."""
    return max(each for each in range(1, min(asked, steps) + 1) if steps % each == 0)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The shape of a run, and how it is kept."""

    num_epochs: int
    steps_per_epoch: int
    batch_size: int
    evaluate_every: int
    """Epochs; the last one is evaluated too."""
    save_every: int = 0
    """Steps; 0: by time, so that saving takes a twentieth of it at most."""
    keep: int = 2
    """How many of the last checkpoints are kept."""
    patience: int = 0
    """Evaluations without a better AP that end the run; 0: none do."""
    max_bad_steps: int = 10
    """Steps in a row without a finite loss that the run does not go on from; 0: it always does."""
    grace_seconds: float = 25.0
    """From the request to stop to the end of the process."""
    steps_per_execution: int = 1
    """Steps between two looks of the host; fewer where they do not divide what is left of an epoch."""
    profile: bool = False
    """Whether a few steps are recorded for TensorBoard's profiler."""

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.num_epochs * self.steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class RunPaths:
    """Where a run keeps what it makes."""

    last: Path
    best: Path
    results: Path
    curves: Path
    tensorboard: Path
    incidents: Path
    bad_steps: Path
