"""Options of --mode=train and --mode=traineval."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.checkpointing import CheckpointingOptions
from efficientdet_pipeline.options.class_networks import ClassNetworkOptions
from efficientdet_pipeline.options.compression import CompressionOptions
from efficientdet_pipeline.options.dataset import DatasetOptions
from efficientdet_pipeline.options.evaluation import EvaluationOptions
from efficientdet_pipeline.options.export import FormatOptions
from efficientdet_pipeline.options.general import ModeOptions, RunOptions, SeedOptions
from efficientdet_pipeline.options.hardware import HardwareOptions
from efficientdet_pipeline.options.loader import LoaderOptions
from efficientdet_pipeline.options.model import ModelOptions, PretrainedOptions
from efficientdet_pipeline.options.optimizer import OptimizerOptions
from efficientdet_pipeline.options.schema import check, check_choice, flatten, option
from efficientdet_pipeline.options.segmentation import SegmentationOptions
from efficientdet_pipeline.options.tracking import TrackingOptions


@dataclass(frozen=True, kw_only=True)
class TrainOptions(ModeOptions):
    """Training."""

    run: RunOptions
    seed: SeedOptions
    data: DatasetOptions
    model: ModelOptions
    pretrained: PretrainedOptions
    loader: LoaderOptions
    augmentation: AugmentationOptions
    optimizer: OptimizerOptions
    compression: CompressionOptions
    hardware: HardwareOptions
    checkpointing: CheckpointingOptions
    evaluation: EvaluationOptions
    tracking: TrackingOptions
    segmentation: SegmentationOptions
    class_networks: ClassNetworkOptions
    export: FormatOptions
    recipe: str = option(
        "",
        "auto: choose image size, batch size, epochs, optimizer, learning rate, frozen epochs, jitter, anchors and "
        "evaluations by the dataset, the initial weights and the device; explicit options take precedence. "
        "none: use the default of each option. Default: auto if image_size, hparams and the options of optimizer and "
        "augmentation that it chooses are not given, otherwise none.",
        choices=("", "auto", "none"),
    )
    train_file_pattern: str = option(
        "",
        "Glob of training shards, for example shards/train-*, or several, comma-separated. No dataset is "
        "downloaded or converted then.",
        path="globs",
    )
    num_examples_per_epoch: int | None = option(
        None,
        "Number of images per epoch. Default: the number of training images.",
        shapes=True,
    )
    max_instances_per_image: int | None = option(
        None,
        "Maximum number of boxes per image; if there are more, the largest are kept. Default: the largest number in "
        "the dataset.",
        shapes=True,
    )
    skip_crowd_during_training: bool = option(True, "Exclude crowd annotations from training.", shapes=True)
    doctor: bool = option(True, "Check boxes and classes before training (takes seconds) and report problems.")
    use_fake_data: bool = option(
        False,
        "Overfit the first batch: sanity-checks that the loss decreases and times the step without the input pipeline.",
        shapes=True,
    )
    path_output: str = option(
        "",
        "Folder for the export. Default: export in the run's folder, or model_ckpts/freeze_model.",
        path="path",
    )
    publish_dir: str = option(
        "",
        "Also copy the finished export to this folder, with the SavedModel at its root, as expected by Vertex AI and "
        "TensorFlow Serving. Default: AIP_MODEL_DIR on Vertex AI, the model folder on SageMaker.",
        path="path",
    )
    eval_master: str = option("", "Accepted for compatibility with google/automl. Ignored, as in google/automl.")

    def without_effect(self) -> dict[str, str]:
        """Returns the conversion options if shards are given, and the evaluation options in mode train."""
        found: dict[str, str] = {}
        if self.compression.quantize_spec() is not None:
            reason = "--quantize keeps the batch statistics, drops nothing and recomputes nothing"
            found = dict.fromkeys(("grad_checkpoint", "batch_norm_momentum"), reason)
        if self.train_file_pattern:
            reason = "train_file_pattern names shards, so nothing is converted"
            kept = {"label_map", "overwrite", "cache_dir", "path_metadata"}
            found |= {name: reason for name in flatten(self.data) if name not in kept}
        elif self.evaluation.val_file_pattern:
            found["val_file_pattern"] = "the images are split into training and validation (--val_set)"
        if self.model.task_name not in {"segmentation", "classification"}:
            reason = "the task is detection (--task, --model_name)"
            groups = (self.segmentation, self.class_networks)
            found |= {name: reason for group in groups for name in flatten(group)}
        if not self.evaluates:
            names = (
                *flatten(self.evaluation),
                *flatten(self.export),
                "map_freq",
                "patience",
                "path_output",
                "publish_dir",
            )
            found |= dict.fromkeys(names, "--mode=train does not evaluate")
        return found

    @property
    def evaluates(self) -> bool:
        """Returns whether the detector is evaluated and exported."""
        return self.general.mode != "train"

    @property
    def keras_backend(self) -> str | None:
        """Returns --backend; empty: that of the environment."""
        return self.hardware.backend

    def __post_init__(self) -> None:
        """Checks for contradictory options."""
        super().__post_init__()
        for name in ("num_examples_per_epoch", "max_instances_per_image"):
            value = getattr(self, name)
            check(value is None or value >= 1, name, value, "at least 1", "leave it out to take it from the data")
        if self.compression.quantize_spec() is not None:
            parts = self.hardware.accumulate_steps
            check(
                parts == 1, "accumulate_steps", parts, "1 with --quantize", "leave it out, or try a smaller batch_size"
            )
            precision = self.hardware.precision
            check(
                precision in ("", "float32") and not self.hardware.mixed_precision,
                "precision",
                precision or "mixed_precision",
                "float32 with --quantize, which rounds by itself",
                "leave it out",
            )
        if self.compression.cluster_spec() is not None and self.hardware.recomputed_blocks:
            raise OptionsError(
                "grad_checkpoint computes with the weights before clustering. Received --grad_checkpoint with "
                "--cluster; leave one of them out.",
                option="grad_checkpoint",
            )
        check_choice("recipe", self.recipe, ("", "auto", "none"))
        if self.general.mode != "benchmark":  # It may measure a detector, which needs no data.
            self.check_data()

    def check_data(self) -> None:
        """Checks that the data is given exactly once.

        Raises:
          OptionsError: no data is given, or several times.
        """
        if self.train_file_pattern and self.data.images.url_dataset:
            raise OptionsError(
                f"Images are given twice: url_dataset={self.data.images.url_dataset!r} and "
                f"train_file_pattern={self.train_file_pattern!r}. Give images or shards, not both.",
                option="train_file_pattern",
            )
        if not (self.train_file_pattern or self.data.images.url_dataset or self.data.images.data_dir):
            raise OptionsError(
                "No data: url_dataset must be the address of a zip, a local zip or a folder of annotated images. "
                "Received nothing from the command line, an @file or the environment; try "
                "`python3 main.py @params.config`, or --train_file_pattern for existing shards.",
                option="url_dataset",
            )
        if self.general.mode not in {"traineval", "tune"}:
            return
        if self.train_file_pattern and not self.evaluation.val_file_pattern:
            raise OptionsError(
                "traineval needs validation shards: val_file_pattern must be a glob. Received none beside "
                f"train_file_pattern={self.train_file_pattern!r}; give it, or try --mode=train.",
                option="val_file_pattern",
            )
        if not self.train_file_pattern and self.data.images.train_valid_split == 1.0 and not self.data.images.val_set:
            raise OptionsError(
                "train_valid_split must be below 1 for traineval, which evaluates on the rest. Received 1.0; "
                "try 0.8, or --mode=train.",
                option="train_valid_split",
            )
