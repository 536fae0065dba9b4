"""Options of --mode=inspect."""

from dataclasses import dataclass

from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.general import NAMES_A_RUN, ModeOptions, RunOptions, SeedOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import check, check_choice, declarations, flatten, option

SUBJECTS = ("records", "model", "environment")


@dataclass(frozen=True, kw_only=True)
class InspectOptions(ModeOptions):
    """Inspection of shards and networks."""

    seed: SeedOptions
    model: ModelOptions
    augmentation: AugmentationOptions
    run: RunOptions

    what: str = option(
        "records",
        "records: images, statistics and damaged records of shards. model: parameters and FLOPs by part and level, "
        "output shapes, and a drawing of the neck. environment: versions, devices and optional packages, with the "
        "commands that install missing ones.",
        choices=SUBJECTS,
    )
    graph_file: str = option(
        "",
        "Drawing of the neck's graph (--what=model): a .png, .svg or .pdf file.",
        path="path",
    )
    file_pattern: str = option(
        "",
        "Glob of shards, or several, comma-separated. Default: the shards of the run given by name, "
        "otherwise of the latest run.",
        path="globs",
    )
    save_samples_dir: str = option(
        "tfrecord_samples",
        "Folder for the report (index.html), its images and its statistics.",
        path="path",
    )
    samples: int = option(10, "Number of images to draw, evenly spaced over all shards.")
    eval: bool = option(
        False,
        "Draw images as preprocessed for evaluation, without augmentation; of a run, those of the validation split.",
    )

    def without_effect(self) -> dict[str, str]:
        """Returns the options that the selected view does not use."""
        if self.what == "model":
            read = {*flatten(self.general), *flatten(self.model), "what", "graph_file"}
            return {name: "--what=model reads no shards" for name in declarations(InspectOptions) if name not in read}
        if self.what == "environment":
            read = {*flatten(self.general), "what"}
            reason = "--what=environment reads no shards and builds no network"
            return {name: reason for name in declarations(InspectOptions) if name not in read}
        found = {"graph_file": "--what=records draws images"}
        if self.eval:
            reason = "--eval shows images as preprocessed for evaluation"
            found |= dict.fromkeys(flatten(self.augmentation), reason)
        if self.file_pattern:
            found |= dict.fromkeys(NAMES_A_RUN, "file_pattern names the shards")
        return found

    def __post_init__(self) -> None:
        """Checks the subject and the number of samples."""
        super().__post_init__()
        check_choice("what", self.what, SUBJECTS)
        is_drawing = self.graph_file.lower().endswith((".png", ".svg", ".pdf"))
        is_fine = not self.graph_file or is_drawing
        check(is_fine, "graph_file", self.graph_file, "a .png, .svg or .pdf file", "try neck.svg")
        check(self.samples >= 1, "samples", self.samples, "at least 1", "try 10")
