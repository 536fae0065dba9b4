"""Options of --mode=inspect."""

from dataclasses import dataclass

from efficientdet_pipeline.options.declare import option
from efficientdet_pipeline.options.evaluate import CheckpointOptions
from efficientdet_pipeline.options.network import NetworkOptions
from efficientdet_pipeline.options.run import SeedOptions, check, check_choice

SUBJECTS = ("records", "model")


@dataclass(frozen=True, kw_only=True)
class InspectOptions(CheckpointOptions, NetworkOptions, SeedOptions):
    """What is in the shards, and what the network costs."""

    what: str = option("records", choices=SUBJECTS)
    """records: draw samples of shards as the network sees them. model: parameters, FLOPs, output shapes."""
    file_pattern: str = option("")
    """Glob of shards; default: the training shards of the run named, else of the latest."""
    save_samples_dir: str = option("tfrecord_samples")
    """Where the drawn samples go."""
    samples: int = option(10)
    """Number of samples."""
    eval: bool = option(False)
    """Show samples as the evaluation sees them, not augmented."""

    def __post_init__(self) -> None:
        """Checks the subject and the number of samples."""
        super().__post_init__()
        check_choice("what", self.what, SUBJECTS)
        check(self.samples >= 1, "samples", self.samples, "at least 1", "try 10")
