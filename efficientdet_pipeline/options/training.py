"""Options of --mode=train and --mode=traineval."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.checkpointing import CheckpointingOptions
from efficientdet_pipeline.options.dataset import DatasetOptions
from efficientdet_pipeline.options.evaluation import EvaluationOptions
from efficientdet_pipeline.options.general import RunOptions, SeedOptions, check
from efficientdet_pipeline.options.schema import declarations, option


@dataclass(frozen=True, kw_only=True)
class TrainOptions(EvaluationOptions, CheckpointingOptions, DatasetOptions):
    """Training."""

    train_file_pattern: str = option("", path="globs")
    """Glob of training shards, for example shards/train-*, or several separated by commas. No dataset is downloaded or
    converted then."""
    num_examples_per_epoch: int | None = option(None, shapes=True)
    """Number of images per epoch. Default: the number of training images."""
    max_instances_per_image: int | None = option(None, shapes=True)
    """Maximum number of boxes per image; of more, the largest are kept. Default: the largest number in the dataset."""
    skip_crowd_during_training: bool = option(True, shapes=True)
    """Exclude crowd annotations from training."""
    doctor: bool = option(True)
    """Check boxes and classes before training (takes seconds) and report problems."""
    use_fake_data: bool = option(False, shapes=True)
    """Overfit the first batch: sanity-checks that the loss decreases and times the step without the input pipeline."""
    path_output: str = option("", path="path")
    """Folder for the export. Default: export in the run's folder, or model_ckpts/freeze_model."""
    eval_master: str = option("")
    """Accepted for compatibility with google/automl. Ignored, as there."""

    def without_effect(self) -> dict[str, str]:
        """Returns the conversion options if shards are given, and the evaluation options if mode is train."""
        kept = {*declarations(RunOptions), *declarations(SeedOptions), "label_map", "overwrite", "cache_dir"}
        found = {}
        if self.train_file_pattern:
            found = {
                name: "train_file_pattern gives shards, and nothing is converted"
                for name in (*declarations(DatasetOptions), "data_dir")
                if name not in kept and name not in ("train_file_pattern", "path_metadata")
            }
        elif self.val_file_pattern:
            found["val_file_pattern"] = "the images are split into training and validation (--val_set)"
        if self.mode == "train":
            names = [name for name in declarations(EvaluationOptions) if name not in declarations(RunOptions)]
            found |= dict.fromkeys((*names, "map_freq", "patience", "path_output"), "--mode=train does not evaluate")
        return super().without_effect() | found

    def __post_init__(self) -> None:
        """Checks for contradictory options."""
        super().__post_init__()
        for name in ("num_examples_per_epoch", "max_instances_per_image"):
            value = getattr(self, name)
            check(value is None or value >= 1, name, value, "at least 1", "leave it out to take it from the data")
        self._check_data()

    def _check_data(self) -> None:
        if self.train_file_pattern and self.url_dataset:
            raise OptionsError(
                f"Images are given twice: url_dataset={self.url_dataset!r} and "
                f"train_file_pattern={self.train_file_pattern!r}. Give images or shards, not both.",
                option="train_file_pattern",
            )
        if not (self.train_file_pattern or self.url_dataset or self.data_dir):
            raise OptionsError(
                "No data: url_dataset must be the address of a zip, a local zip or a folder of annotated images. "
                "Received nothing from the command line, an @file or the environment; try "
                "`python3 main.py @params.config`, or --train_file_pattern for shards that exist.",
                option="url_dataset",
            )
        if self.mode != "traineval":
            return
        if self.train_file_pattern and not self.val_file_pattern:
            raise OptionsError(
                "traineval needs shards to evaluate on: val_file_pattern must be a glob. Received none beside "
                f"train_file_pattern={self.train_file_pattern!r}; give it, or try --mode=train.",
                option="val_file_pattern",
            )
        if not self.train_file_pattern and self.train_valid_split == 1.0 and not self.val_set:
            raise OptionsError(
                "train_valid_split must be below 1 for traineval, which evaluates on the rest. Received 1.0; "
                "try 0.8, or --mode=train.",
                option="train_valid_split",
            )
