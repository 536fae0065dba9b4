"""Options that say what is kept of a run, and when it ends."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import check
from efficientdet_pipeline.options.hardware import HardwareOptions
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class CheckpointingOptions(HardwareOptions):
    """What is kept of a run, and when it ends."""

    map_freq: int = option(0)
    """Epochs between two evaluations; 0 makes about ten a run."""
    save_freq: str = option("auto")
    """When to write a checkpoint: every so many steps, or each epoch. auto: every half minute; where writing one is
    slow, up to five minutes apart, so that it takes little of the time. A kill costs what was trained since the last
    one. After an evaluation and at the end there is one in any case."""
    keep: int = option(2)
    """How many of the last checkpoints are kept, beside the best."""
    patience: int = option(0)
    """End the run after so many evaluations without a better AP; 0 trains to the end. A run whose best AP is below .01
    has not begun, and goes on."""
    max_bad_steps: int = option(10)
    """After so many steps in a row without a finite loss or gradient go back to the last good checkpoint with half
    the learning rate, and after so many once more end with a report; 0 skips such steps for ever."""
    grace_seconds: float = option(25.0)
    """Time from SIGTERM or Ctrl-C to the end of the program; the checkpoint is written within it. Cloud machines
    give 30 seconds."""

    def __post_init__(self) -> None:
        """Checks the counts."""
        super().__post_init__()
        check(self.map_freq >= 0, "map_freq", self.map_freq, "0 or more", "0 makes about ten evaluations a run")
        is_known = self.save_freq in {"auto", "epoch"} or (self.save_freq.isdecimal() and int(self.save_freq) > 0)
        check(is_known, "save_freq", self.save_freq, "auto, epoch, or a number of steps", "try 1000")
        check(self.keep >= 1, "keep", self.keep, "at least 1", "try 2")
        for name in ("patience", "max_bad_steps"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more", "0 switches it off")
        check(self.grace_seconds > 0, "grace_seconds", self.grace_seconds, "above 0", "try 25")
