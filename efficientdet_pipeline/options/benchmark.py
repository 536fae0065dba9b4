"""Options of --mode=benchmark."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import check, check_choice
from efficientdet_pipeline.options.schema import option
from efficientdet_pipeline.options.sweep import SweepOptions

SUBJECTS = ("loader", "train")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(SweepOptions):
    """How fast a training would be; its options are those of the training."""

    what: str = option("loader", choices=SUBJECTS)
    """loader: photos a second out of the shards, and where the time goes. train: the loader alone, the step alone and
    both together, for several batch sizes."""
    rounds: int = option(5)
    """Measurements of each part, taken in turns; the median is told."""
    output: str = option("", path="path")
    """JSON file for the figures."""

    def __post_init__(self) -> None:
        """Checks the subject and the rounds."""
        super().__post_init__()
        check_choice("what", self.what, SUBJECTS)
        check(self.rounds >= 1, "rounds", self.rounds, "at least 1", "try 5")
