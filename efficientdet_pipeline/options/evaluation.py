"""Options of --mode=eval, shared with training."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.dataset import SOURCE_FORMATS
from efficientdet_pipeline.options.general import NAMES_A_RUN, ModeOptions, RunOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import Options, check, check_choice, flatten, option

Engine = Literal["auto", "hotcoco", "pycocotools"]
"""Engine that computes the COCO metrics."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Options):
    """Evaluation."""

    val_file_pattern: str = option("", "Glob of shards to evaluate, or several, comma-separated.", path="globs")
    val_json_file: str = option(
        "",
        "COCO JSON file with the ground truth, used instead of the annotations in the shards.",
        path="path",
    )
    eval_samples: int | None = option(
        None,
        "Number of images to evaluate on: a fixed subset that contains all classes, rare ones first. Default: all.",
    )
    eval_name: str = option("", "Name of the evaluation; metrics are written to metrics_<name>.json.")
    eval_engine: str = option(
        "auto",
        "Engine that computes the COCO metrics: hotcoco, pycocotools (the reference, slower), or auto: hotcoco if "
        "it is installed. The metrics are bit-identical.",
        choices=get_args(Engine),
    )
    analysis: bool = option(
        True,
        "Write an analysis: thresholds.yaml (score thresholds of the best F1, used by inference), "
        "label_errors.csv, confusion matrix, curves and report/index.html.",
    )

    def __post_init__(self) -> None:
        """Checks the number of images."""
        super().__post_init__()
        samples = self.eval_samples
        check(samples is None or samples >= 1, "eval_samples", samples, "at least 1", "leave it out to use all images")
        check_choice("eval_engine", self.eval_engine, get_args(Engine))

    @property
    def engine(self) -> Engine:
        """Returns --eval_engine."""
        return cast(Engine, self.eval_engine)


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """Checkpoint to load."""

    path_ckpt: str = option(
        "",
        "Checkpoint: folder of a run, or a checkpoint's folder or file. Default: the best checkpoint of the "
        "run given by name, otherwise of the latest run.",
        path="path",
    )
    path_yaml: str = option(
        "",
        "hparams_config.yaml with the configuration of the network and its classes. Default: the one in the "
        "checkpoint's folder.",
        path="path",
    )

    def without_effect(self) -> dict[str, str]:
        """Returns the options that name a run, if a checkpoint is given."""
        reason = "path_ckpt names the checkpoint"
        names = NAMES_A_RUN if self.path_ckpt else ()
        return dict.fromkeys(names, reason)


@dataclass(frozen=True, kw_only=True)
class SubjectOptions(Options):
    """Subject and data of an evaluation."""

    saved_model_dir: str = option(
        "",
        "Export to evaluate instead of a checkpoint: SavedModel folder, frozen graph (.pb), .tflite, .onnx or "
        "OpenVINO .xml, with its hparams_config.yaml and label_map.yaml beside it.",
        path="path",
    )
    trust_model: bool = option(
        False,
        "Load a SavedModel or frozen graph even if it contains operations that read or write files. Use only "
        "for models from a trusted source.",
        from_environment=False,
    )
    ensemble: str = option(
        "",
        "Further checkpoints, runs or exports, comma-separated, whose detections are fused with those of the first "
        "(weighted boxes fusion).",
    )
    tta: str = option(
        "",
        "Test-time augmentation: `flip`, `scale` (0.8 of the size), scales from 0 to 1, or several, "
        "comma-separated; the detections of all views are fused.",
    )
    detections_json: str = option(
        "",
        "Detections in COCO's result format to evaluate instead of a detector; the ground truth is val_json_file or "
        "that of the images.",
        path="path",
    )
    val_dataset: str = option(
        "",
        "Annotated images to evaluate, instead of shards: URL of a zip, a local zip or a folder in any format that "
        "training reads. Its validation or test split is used if it has splits, otherwise all images.",
        path="path",
    )
    val_set: str = option("", "With val_dataset: name of the dataset's own split to evaluate.")
    source_format: str = option("", "With val_dataset: annotation format. Default: detected from the files.")
    label_aliases: str = option(
        "", "With val_dataset: alternative spellings of class names, as for training.", path="path"
    )
    cache_dir: str = option(
        "",
        "Folder for downloads and for the converted shards of val_dataset. Default: `~/.cache/efficientdet-pipeline`.",
        path="path",
    )
    testdev_dir: str = option(
        "",
        "Folder for the detections as a submission to COCO's test-dev server; no ground truth is used.",
        path="path",
    )
    ap_interval: bool = option(False, "Print 95% confidence intervals of AP and AP50, by bootstrap over the images.")
    class_groups: str = option(
        "", "Groups of classes for which AP is reported: `cells=RBC,WBC;other=Platelets`, by name or id."
    )

    def __post_init__(self) -> None:
        """Checks that one subject is given, and that the views are valid."""
        super().__post_init__()
        check_choice("source_format", self.source_format, SOURCE_FORMATS)
        if self.detections_json:
            others = [name for name in ("saved_model_dir", "ensemble", "tta", "testdev_dir") if getattr(self, name)]
            check(not others, "detections_json", self.detections_json, f"given without {' and '.join(others)}",
                  "the file already contains detections")  # fmt: skip
        words = [word.strip() for word in self.tta.split(",") if word.strip()]
        known = all(word in {"flip", "scale"} or _is_scale(word) for word in words)
        check(known, "tta", self.tta, "flip, scale and scales above 0 and at most 1", "try flip,0.8")

    def without_effect(self) -> dict[str, str]:
        """Returns the options of val_dataset if it is not given."""
        names = () if self.val_dataset else ("val_set", "source_format", "label_aliases")
        return dict.fromkeys(names, "val_dataset is not given")


def _is_scale(word: str) -> bool:
    try:
        return 0.0 < float(word) <= 1.0
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class EvalOptions(ModeOptions):
    """Evaluation of a checkpoint, an export or a detections file."""

    run: RunOptions
    evaluation: EvaluationOptions
    checkpoint: CheckpointOptions
    model: ModelOptions
    subject: SubjectOptions

    batch_size: int = option(8, "Number of images per batch. `auto`: 8.", words={"auto": 0})

    def __post_init__(self) -> None:
        """Checks the batch size, and that the images are given once."""
        super().__post_init__()
        check(self.batch_size >= 0, "batch_size", self.batch_size, "at least 1, or auto", "try 8")
        if self.subject.val_dataset and self.evaluation.val_file_pattern:
            raise OptionsError(
                f"Images to evaluate on are given twice: val_dataset={self.subject.val_dataset!r} and "
                f"val_file_pattern={self.evaluation.val_file_pattern!r}. Give one of them.",
                option="val_dataset",
            )

    def without_effect(self) -> dict[str, str]:
        """Returns the options that do not apply to the subject."""
        found: dict[str, str] = {}
        groups_of_checkpoint = (self.checkpoint, self.model)
        if self.subject.detections_json:
            reason = "detections_json contains the detections"
            found = {name: reason for group in (*groups_of_checkpoint, self.run) for name in flatten(group)}
            found |= dict.fromkeys(("batch_size", "eval_samples", "hparams", "trust_model"), reason)
        elif self.subject.saved_model_dir:
            reason = "saved_model_dir names an export, whose network is fixed"
            kept = {"hparams"}
            found = {name: reason for group in groups_of_checkpoint for name in flatten(group) if name not in kept}
            found["batch_size"] = "an export gets one image at a time"
        if not self.evaluation.analysis:
            found |= dict.fromkeys(("ap_interval", "class_groups"), "--noanalysis is given")
        if self.subject.testdev_dir:
            reason = "a test-dev submission has no ground truth"
            found |= dict.fromkeys(("val_json_file", "ap_interval", "class_groups", "analysis", "eval_engine"), reason)
        return found
