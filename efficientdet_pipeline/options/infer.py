"""Options of --mode=infer."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import ModeOptions, RunOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import Options, check, flatten, option

MIN_SCORE = 0.4
"""Default score threshold for drawn detections, here and in the images drawn during training."""


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(Options):
    """Inference."""

    saved_model_dir: str = option("", "SavedModel folder or frozen graph (.pb), instead of a checkpoint.", path="path")
    trust_model: bool = option(
        False,
        "Load a SavedModel or frozen graph even if it contains operations that read or write files. Use only "
        "for models from a trusted source.",
        from_environment=False,
    )
    min_score_thresh: float = option(
        MIN_SCORE,
        "Minimum score of a drawn detection, 0 to 1; detections.json contains all detections.",
    )
    classes: str = option("", "Comma-separated names or ids of the classes to detect. Default: all.")

    def __post_init__(self) -> None:
        """Checks the score threshold."""
        super().__post_init__()
        score = self.min_score_thresh
        check(0.0 <= score <= 1.0, "min_score_thresh", score, "between 0 and 1", "try 0.4")


@dataclass(frozen=True, kw_only=True)
class DetectorOptions(ModeOptions):
    """Detector of the Python API."""

    run: RunOptions
    checkpoint: CheckpointOptions
    model: ModelOptions
    detection: DetectionOptions

    def without_effect(self) -> dict[str, str]:
        """Returns the options that describe a checkpoint, if an export is given."""
        if not self.detection.saved_model_dir:
            return {}
        reason = "saved_model_dir names an export, whose network is fixed"
        return {name: reason for group in (self.run, self.checkpoint, self.model) for name in flatten(group)}


@dataclass(frozen=True, kw_only=True)
class InferOptions(DetectorOptions):
    """Inference."""

    input_image: str = option("", "One image, a glob, or a folder of images.", path="glob")
    output_image_dir: str = option(
        "",
        "Folder for the images with drawn detections, detections.json and detections_coco.json (COCO results format).",
        path="path",
    )
    max_boxes_to_draw: int = option(100, "Maximum number of boxes drawn per image.")

    def __post_init__(self) -> None:
        """Checks that there is an image to read and a folder to write to."""
        super().__post_init__()
        check(self.max_boxes_to_draw >= 0, "max_boxes_to_draw", self.max_boxes_to_draw, "0 or more", "try 100")
        for name, example in (("input_image", "photo.jpg, 'photos/*.jpg' or photos"), ("output_image_dir", "out")):
            if not getattr(self, name):
                raise OptionsError(
                    f"{name} must be given for --mode=infer. Received nothing from the command line, an @file or the "
                    f"environment; try --{name}={example}.",
                    option=name,
                )
