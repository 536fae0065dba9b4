"""Options that say what is kept of a run, and when it ends."""

from dataclasses import dataclass

from efficientdet_pipeline.options.declare import option
from efficientdet_pipeline.options.machine import MachineOptions
from efficientdet_pipeline.options.run import check


@dataclass(frozen=True, kw_only=True)
class KeepingOptions(MachineOptions):
    """What is kept of a run, and when it ends."""

    map_freq: int = option(0)
    """Epochs between two evaluations; 0 makes about ten a run."""

    def __post_init__(self) -> None:
        """Checks the counts."""
        super().__post_init__()
        check(self.map_freq >= 0, "map_freq", self.map_freq, "0 or more", "0 makes about ten evaluations a run")
