"""Run configuration: length, evaluation and checkpoint intervals, paths."""

from dataclasses import dataclass
from pathlib import Path


def steps_that_divide(requested: int, steps: int) -> int:
    """Returns the largest divisor of `steps` up to `requested`; Keras would run beyond the last step otherwise."""
    return max(each for each in range(1, min(requested, steps) + 1) if steps % each == 0)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Length of a run, and its evaluation and checkpoint intervals."""

    num_epochs: int
    steps_per_epoch: int
    batch_size: int
    evaluate_every: int
    """Epochs between evaluations; the last epoch is always evaluated."""
    save_every: int = 0
    """Steps between checkpoints; 0: by time, so that saving takes at most a twentieth of it."""
    keep: int = 2
    """Number of last checkpoints to keep."""
    patience: int = 0
    """Early stopping: evaluations without a better AP; 0: disabled."""
    max_bad_steps: int = 10
    """Consecutive non-finite steps before a rewind, then an error; 0: skip them indefinitely."""
    grace_seconds: float = 25.0
    """Seconds between a stop request and the end of the process."""
    steps_per_execution: int = 1
    """Steps per compiled execution; fewer if they do not divide the rest of an epoch."""
    profile: bool = False
    """Whether to profile a few steps for TensorBoard."""

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.num_epochs * self.steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class RunPaths:
    """Paths of the files that a run writes."""

    last: Path
    best: Path
    results: Path
    curves: Path
    tensorboard: Path
    incidents: Path
    bad_steps: Path
