"""Options of --mode=infer."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import GeneralOptions, check
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import declarations, option

MIN_SCORE = 0.4
"""Smallest score that is drawn, here and in the pictures of a training."""


@dataclass(frozen=True, kw_only=True)
class InferOptions(CheckpointOptions, ModelOptions):
    """Detection on photos."""

    input_image: str = option("", path="glob")
    """One photo, a glob, or a folder of photos."""
    output_image_dir: str = option("", path="path")
    """Where the drawn photos, detections.json and detections_coco.json (COCO's result list) go."""
    saved_model_dir: str = option("", path="path")
    """A SavedModel folder or a frozen .pb, instead of a checkpoint."""
    trust_model: bool = option(False, from_environment=False)
    """Load a SavedModel or frozen graph even where it can read and write files; only if you trust whoever made it."""
    min_score_thresh: float = option(MIN_SCORE)
    """Smallest score that is drawn; detections.json holds all."""
    classes: str = option("")
    """Names or ids of the classes to detect, comma-separated; default: all."""
    max_boxes_to_draw: int = option(100)
    """Most boxes drawn in a photo."""

    def without_effect(self) -> dict[str, str]:
        """Returns the options that describe a checkpoint, where an export is given."""
        if not self.saved_model_dir:
            return super().without_effect()
        describing = [*declarations(CheckpointOptions), *declarations(ModelOptions)]
        general = declarations(GeneralOptions)
        reason = "saved_model_dir names an export, whose network cannot be changed"
        return {name: reason for name in describing if name not in general}

    def __post_init__(self) -> None:
        """Checks that there is a photo to read and a place to write to."""
        super().__post_init__()
        score = self.min_score_thresh
        check(0.0 <= score <= 1.0, "min_score_thresh", score, "between 0 and 1", "try 0.4")
        check(self.max_boxes_to_draw >= 0, "max_boxes_to_draw", self.max_boxes_to_draw, "0 or more", "try 100")
        for name, example in (("input_image", "photo.jpg, 'photos/*.jpg' or photos"), ("output_image_dir", "out")):
            if not getattr(self, name):
                raise OptionsError(
                    f"{name} must be given for --mode=infer. Received nothing from the command line, an @file or the "
                    f"environment; try --{name}={example}.",
                    option=name,
                )
