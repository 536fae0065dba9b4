"""Options of --mode=benchmark."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import check, check_choice
from efficientdet_pipeline.options.schema import option
from efficientdet_pipeline.options.sweep import SweepOptions

SUBJECTS = ("loader", "train")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(SweepOptions):
    """Benchmark of a training; takes the options of --mode=traineval."""

    what: str = option("loader", choices=SUBJECTS)
    """loader: images per second of the input pipeline, by stage. train: the input pipeline alone, the training step
    alone and both together, for several batch sizes."""
    rounds: int = option(5)
    """Number of measurements of each part, interleaved; the median is reported."""
    output: str = option("", path="path")
    """JSON file to write the measurements to."""

    def __post_init__(self) -> None:
        """Checks the subject and the rounds."""
        super().__post_init__()
        check_choice("what", self.what, SUBJECTS)
        check(self.rounds >= 1, "rounds", self.rounds, "at least 1", "try 5")
