"""Checkpointing and early stopping options."""

from dataclasses import dataclass

from efficientdet_pipeline.options.schema import Options, check, option


@dataclass(frozen=True, kw_only=True)
class CheckpointingOptions(Options):
    """Checkpointing and early stopping."""

    map_freq: int = option(0, "Number of epochs between evaluations. 0: about ten evaluations per run.")
    save_freq: str = option(
        "auto",
        "Number of steps between checkpoints, or `epoch`. `auto`: every 30 seconds, or up to 5 minutes apart "
        "where writing a checkpoint is slow. A checkpoint is also saved after each evaluation and at the end. "
        "An interrupted run loses the steps since its last checkpoint.",
    )
    keep: int = option(2, "Number of most recent checkpoints to keep, in addition to the best.")
    patience: int = option(
        0,
        "Early stopping: number of evaluations without improvement of AP after which training stops. Inactive "
        "while the best AP is below 0.01. 0: disabled.",
    )
    max_bad_steps: int = option(
        10,
        "Number of consecutive non-finite steps (loss or gradients) before rolling back to the last good "
        "checkpoint at half the learning rate; a second such streak aborts. 0: skip such steps indefinitely.",
    )
    grace_seconds: float = option(
        25.0,
        "Time limit in seconds for saving a checkpoint and exiting after SIGTERM or Ctrl-C. Preemptible cloud "
        "machines allow 30 seconds.",
    )

    def __post_init__(self) -> None:
        """Checks the counts."""
        super().__post_init__()
        check(self.map_freq >= 0, "map_freq", self.map_freq, "0 or more", "0 is about ten evaluations per run")
        is_known = self.save_freq in {"auto", "epoch"} or (self.save_freq.isdecimal() and int(self.save_freq) > 0)
        check(is_known, "save_freq", self.save_freq, "auto, epoch, or a number of steps", "try 1000")
        check(self.keep >= 1, "keep", self.keep, "at least 1", "try 2")
        for name in ("patience", "max_bad_steps"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more", "0 disables it")
        check(self.grace_seconds > 0, "grace_seconds", self.grace_seconds, "above 0", "try 25")
