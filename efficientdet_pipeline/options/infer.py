"""Options of --mode=infer and --mode=video, and of the detector of the Python API."""

import re
from dataclasses import dataclass
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import ModeOptions, RunOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import Options, check, check_choice, flatten, option

MIN_SCORE = 0.4
"""Default score threshold for drawn detections, also during training."""
NETWORK_SUFFIXES = (".tflite", ".onnx", ".xml")
"""Suffixes of exported files with the network alone, or with TFLite's own post-processing."""
EXPORT_SUFFIXES = (".pb", *NETWORK_SUFFIXES)
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv"})
STREAMS = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://")
RESULTS: dict[str, str] = {
    "images": "drawn images, or the drawn video",
    "json": "detections.json, all detections of any score",
    "coco": "detections_coco.json, the same in COCO's results format",
    "yolo": "labels/*.txt",
    "voc": "annotations/*.xml",
    "csv": "detections.csv",
    "crops": "crops/*.jpg",
}
"""Output format → its description."""
DEFAULT_RESULTS = "images,json,coco"


def has_saved_model(path: Path) -> bool:
    """Returns whether a path is a SavedModel, or the folder of an export with one."""
    return any((folder / "saved_model.pb").is_file() for folder in (path, path / "saved_model"))


def is_video(source: str) -> bool:
    """Returns whether a source is a video file, a camera (a number) or the URL of a stream."""
    return source.isdecimal() or source.startswith(STREAMS) or Path(source).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(Options):
    """Inference."""

    saved_model_dir: str = option(
        "",
        "Export, instead of a checkpoint: SavedModel folder, frozen graph (.pb), TFLite, ONNX or OpenVINO (.xml) file.",
        path="path",
    )
    trust_model: bool = option(
        False,
        "Load a SavedModel or frozen graph even if it contains operations that read or write files. Use only "
        "for models from a trusted source.",
        from_environment=False,
    )
    min_score_thresh: float | None = option(
        None,
        "Minimum score of a detection, 0 to 1; the results json and coco contain those below too. Default: the "
        "thresholds of each class in thresholds.yaml of the export or of the run's folder, otherwise 0.4.",
    )
    class_thresholds: str = option(
        "",
        "Minimum scores of single classes, comma-separated, by name or id (`cat=0.3,dog=0.6`). They take precedence "
        "over all other thresholds.",
    )
    classes: str = option("", "Comma-separated names or ids of the classes to detect. Default: all.")
    threads: int = option(0, "Number of threads of the detector's runtime. 0: chosen by the runtime.")
    tile: str = option(
        "",
        "Detect on overlapping tiles of WIDTHxHEIGHT pixels, for small objects in large images. Default: whole images.",
    )
    tile_overlap: float = option(0.2, "Overlap of neighboring tiles, as a fraction of their side, 0 to 0.9.")

    def __post_init__(self) -> None:
        """Checks the score threshold, the threads and the tiles."""
        super().__post_init__()
        score = self.min_score_thresh
        check(score is None or 0.0 <= score <= 1.0, "min_score_thresh", score, "between 0 and 1", "try 0.4")
        check(self.threads >= 0, "threads", self.threads, "0 or more", "0 leaves it to the runtime")
        is_size = not self.tile or re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.tile) is not None
        check(is_size, "tile", self.tile, "WIDTHxHEIGHT in pixels", "try 640x640")
        words = self.class_thresholds
        is_pairs = all(name and score for name, score in self.scores_of_classes().items())
        advice = "try cat=0.3,dog=0.6; a class whose name has a comma is given by its id"
        check(is_pairs, "class_thresholds", words, "CLASS=SCORE, comma-separated", advice)
        overlap = self.tile_overlap
        check(0.0 <= overlap <= 0.9, "tile_overlap", overlap, "between 0 and 0.9", "try 0.2")

    def scores_of_classes(self) -> dict[str, str]:
        """Returns the words of class_thresholds: class → score, neither checked."""
        words = [word.strip() for word in self.class_thresholds.split(",") if word.strip()]
        return {word.rpartition("=")[0].strip(): word.rpartition("=")[2].strip() for word in words}

    @property
    def tile_size(self) -> tuple[int, int] | None:
        """Returns height and width of a tile; None for the whole image."""
        if not self.tile:
            return None
        width, height = map(int, self.tile.split("x"))
        return height, width

    def without_effect(self) -> dict[str, str]:
        """Returns the overlap if there are no tiles."""
        return {} if self.tile else {"tile_overlap": "--tile gives no tiles"}


@dataclass(frozen=True, kw_only=True)
class DrawingOptions(Options):
    """Drawn detections."""

    max_boxes_to_draw: int = option(100, "Maximum number of boxes drawn per image.")
    line_thickness: int = option(0, "Thickness of drawn lines in pixels. 0: scales with the image.")

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        check(self.max_boxes_to_draw >= 0, "max_boxes_to_draw", self.max_boxes_to_draw, "0 or more", "try 100")
        check(self.line_thickness >= 0, "line_thickness", self.line_thickness, "0 or more", "try 2")


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

    drawing: DrawingOptions
    input_image: str = option(
        "",
        "One image, a glob, or a folder of images; also a video, the number of a camera, or the URL of a stream "
        "(rtsp://…).",
        path="glob",
    )
    output_image_dir: str = option("", "Folder for the results.", path="path")
    results: str = option(
        DEFAULT_RESULTS,
        "Comma-separated output formats. "
        + "; ".join(f"{name}: {text}" for name, text in RESULTS.items())
        + ". All except json and coco contain only detections above the thresholds.",
    )
    batch_size: int = option(1, "Number of consecutive images of one size per batch. `auto`: 1.", words={"auto": 0})
    max_frames: int = option(0, "Number of frames of a video, camera or stream to read. 0: all.")

    def __post_init__(self) -> None:
        """Checks that input images and an output folder are given."""
        super().__post_init__()
        for name, example in (("input_image", "photo.jpg, 'photos/*.jpg' or photos"), ("output_image_dir", "out")):
            _check_given(self, name, example, mode="infer")
        for name in self.result_names():
            check_choice("results", name, tuple(RESULTS))
        check(bool(self.result_names()), "results", self.results, "one or more formats", f"try {DEFAULT_RESULTS}")
        check(self.batch_size >= 0, "batch_size", self.batch_size, "at least 1, or auto", "try 8")
        check(self.max_frames >= 0, "max_frames", self.max_frames, "0 or more", "0 reads all")

    def result_names(self) -> list[str]:
        """Returns the output formats, without duplicates."""
        return list(dict.fromkeys(word.strip() for word in self.results.split(",") if word.strip()))

    def without_effect(self) -> dict[str, str]:
        """Returns the options of drawing if nothing is drawn, and those without effect on the input or the detector."""
        names = () if "images" in self.result_names() else tuple(flatten(self.drawing))
        found = super().without_effect() | dict.fromkeys(names, "--results names no images")
        if set(self.result_names()) <= {"json", "coco"}:
            reason = "only the log counts by them: --results names json and coco alone, which contain all detections"
            found |= dict.fromkeys(("min_score_thresh", "class_thresholds"), reason)
        if is_video(self.input_image):
            return found | {"batch_size": "the frames of a video are detected one by one"}
        return found | {"max_frames": "the input is images"}


@dataclass(frozen=True, kw_only=True)
class VideoOptions(DetectorOptions):
    """Video."""

    drawing: DrawingOptions
    input_video: str = option("", "A video, the number of a camera, or the URL of a stream (rtsp://…).", path="path")
    output_video: str = option("", "Output video with drawn detections, at the frame rate of the input.", path="path")
    max_frames: int = option(0, "Number of frames of a video, camera or stream to read. 0: all.")

    def __post_init__(self) -> None:
        """Checks that an input and an output video are given."""
        super().__post_init__()
        for name, example in (("input_video", "cars.mp4"), ("output_video", "out/cars.mp4")):
            _check_given(self, name, example, mode="video")
        check(self.max_frames >= 0, "max_frames", self.max_frames, "0 or more", "0 reads all")


def _check_given(options: Options, name: str, example: str, *, mode: str) -> None:
    if not getattr(options, name):
        raise OptionsError(
            f"{name} must be given for --mode={mode}. Received nothing from the command line, an @file or the "
            f"environment; try --{name}={example}.",
            option=name,
        )
