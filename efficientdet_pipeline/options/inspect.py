"""Options of --mode=inspect."""

from dataclasses import dataclass

from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.general import NAMES_A_RUN, RunOptions, SeedOptions, check, check_choice
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import declarations, option

SUBJECTS = ("records", "model")


@dataclass(frozen=True, kw_only=True)
class InspectOptions(RunOptions, AugmentationOptions, ModelOptions, SeedOptions):
    """What is in the shards, and what the network costs."""

    what: str = option("records", choices=SUBJECTS)
    """records: pictures and counts of shards, and their damaged records. model: parameters, FLOPs, output shapes."""
    file_pattern: str = option("", path="globs")
    """Glob of shards; several separated by commas. Default: those of the run named, else of the latest."""
    save_samples_dir: str = option("tfrecord_samples", path="path")
    """Folder for index.html, the page with everything, and for its pictures and counts."""
    samples: int = option(10)
    """Photos to draw, in even steps over all."""
    eval: bool = option(False)
    """Draw photos as the evaluation sees them, not augmented; of a run, those of the validation."""

    def without_effect(self) -> dict[str, str]:
        """Returns the options of what is not shown."""
        if self.what == "model":
            read = {*declarations(ModelOptions), "what"}
            return {name: "--what=model reads no shards" for name in declarations(InspectOptions) if name not in read}
        found = super().without_effect()
        if self.eval:
            reason = "--eval shows photos as the evaluation sees them"
            own = declarations(AugmentationOptions).keys() - declarations(SeedOptions).keys()
            found |= dict.fromkeys(own, reason)
        if self.file_pattern:
            found |= dict.fromkeys(NAMES_A_RUN, "file_pattern names the shards")
        return found

    def __post_init__(self) -> None:
        """Checks the subject and the number of samples."""
        super().__post_init__()
        check_choice("what", self.what, SUBJECTS)
        check(self.samples >= 1, "samples", self.samples, "at least 1", "try 10")
