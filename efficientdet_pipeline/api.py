"""Python API: train, evaluate, export and use a detector, convert and check a dataset.

>>> import efficientdet_pipeline as edp
>>> run = edp.train("images.zip", model_name="efficientdet-lite0", num_epochs=50)
>>> for detections in edp.Detector(run)(["a.jpg"]):
...     print(detections.class_names, detections.scores)

Every keyword argument is the command-line option of the same name, with its
default and its checks (`efficientdet-pipeline --helpfull` lists them). Nothing
is read from environment variables named like options, nor from an option file.
TensorFlow and Keras are imported by the first call, not by the import.

Errors are exceptions of `efficientdet_pipeline.errors`, with the texts that the
command line prints. The functions may be called from any thread; Ctrl-C and
SIGTERM save a checkpoint only if `train` runs in the main thread.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from efficientdet_pipeline import backend
from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.console import console_logging, silent_native_log
from efficientdet_pipeline.errors import OptionsError, check_processor, pipeline_error
from efficientdet_pipeline.options.convert import ConvertOptions
from efficientdet_pipeline.options.doctor import DoctorOptions
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.export import ExportOptions
from efficientdet_pipeline.options.general import ModeOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.imagenet import ClassifierOptions, EncoderOptions
from efficientdet_pipeline.options.infer import EXPORT_SUFFIXES, DetectorOptions, has_saved_model, is_video
from efficientdet_pipeline.options.keywords import OptionValue
from efficientdet_pipeline.options.parser import Reader, Sources
from efficientdet_pipeline.options.report import ReportOptions
from efficientdet_pipeline.options.resolve import resolve_options
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.storage.localize import local_storage

if TYPE_CHECKING:
    from efficientdet_pipeline.doctor.issue import Issue
    from efficientdet_pipeline.export.bundle import ExportedFiles
    from efficientdet_pipeline.inference.classification import ClassScore
    from efficientdet_pipeline.inference.imagenet_weights import Features
    from efficientdet_pipeline.runs.run_dir import RunFolder
    from tfrmod.manifest import Manifest

ModeT = TypeVar("ModeT", bound=ModeOptions)
PathLike = str | os.PathLike[str]
Image = PathLike | np.ndarray
"""Path of an image file, or its pixels: uint8 RGB (h, w, 3)."""

# Options of the command line's own output.
_COMMAND_LINE_ONLY = {"mode", "traceback", "json", "report", "log_format"}


@dataclass(frozen=True)
class RunResult:
    """A trained run."""

    folder: Path
    """The run's folder; docs/run-folder.md lists its files."""
    best_checkpoint: Path
    """Folder of the checkpoint with the highest validation AP; of the last one if none was evaluated."""
    metrics: Mapping[str, object]
    """COCO metrics of `best_checkpoint` as in metrics.json: AP, AP50 … and per_class {name: AP}; -1 where
    undefined. Empty after mode="train", which does not evaluate."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image, best first; d is their number."""

    boxes: np.ndarray
    """(d, 4) float32: y0, x0, y1, x1 in pixels of the image, clipped to it."""
    scores: np.ndarray
    """(d,) float32, 0 to 1."""
    class_ids: np.ndarray
    """(d,) int64, from 1."""
    class_names: np.ndarray
    """(d,) str; the id if a class has no name."""

    def __len__(self) -> int:
        """Returns the number of detections."""
        return len(self.scores)


def train(dataset: PathLike | None = None, /, *, mode: str = DEFAULT_MODE, **options: OptionValue) -> RunResult:
    """Trains a detector, evaluates it and exports it; resumes the run if it exists already.

    Args:
      dataset: annotated images: a zip, a folder or a URL (`url_dataset`). None
        if `train_file_pattern` names shards.
      mode: "traineval", or "train" for training without evaluation and export.
      **options: options of --mode=traineval, such as `model_name`, `num_epochs`,
        `batch_size`, `learning_rate`, `hparams`, `run_name`.

    Returns:
      The run's folder, its best checkpoint and the metrics of that checkpoint.

    Raises:
      OptionsError: an option is unknown, of a wrong type, or contradicts another.
      OutOfMemoryError: the batch does not fit in memory.
      DataError: the dataset cannot be used.
      StoppedError: Ctrl-C or SIGTERM; the same call resumes the run.
    """
    if mode not in {"traineval", "train"}:
        raise OptionsError(f"mode must be 'traineval' or 'train'. Received {mode!r}; leave it out.", option="mode")
    with prepared(TrainOptions, mode, with_given(options, url_dataset=dataset)) as (settings, read, hparams):
        from efficientdet_pipeline.report.run_report import RunReport
        from efficientdet_pipeline.training.trainer import train_run

        return _run_result(train_run(settings, read, hparams, report=RunReport()))


def evaluate(run: RunResult | PathLike, /, **options: OptionValue) -> dict[str, object]:
    """Returns the metrics of a detector as COCO and Pascal VOC define them.

    Args:
      run: a run, its folder, a checkpoint, or an export.
      **options: options of --mode=eval, such as `val_file_pattern` or `val_dataset`
        (default: the run's own images), `batch_size`, `eval_samples`, `tta`.

    Returns:
      AP, AP50, AP75, APs, APm, APl, ARmax1 …, VOC07_AP50, VOC12_AP50 and per_class {name: AP}, 0 to 1,
      -1 where undefined. They are also written to metrics_eval.json in the run's folder.
    """
    path = path_of(run)
    name = "saved_model_dir" if is_export(Path(path).expanduser()) else "path_ckpt"
    with prepared(EvalOptions, "eval", with_given(options, **{name: path})) as (settings, _, hparams):
        from efficientdet_pipeline.commands.evaluate import evaluate as evaluate_options

        return evaluate_options(settings, hparams)


def report(run: RunResult | PathLike, /) -> Path:
    """Writes the report of a run, and returns its path: report/index.html in the run's folder.

    Args:
      run: a run, or its folder.

    Raises:
      MissingError: the run does not exist.
    """
    with prepared(ReportOptions, "report", {"model_dir": path_of(run)}) as (settings, _, _):
        from efficientdet_pipeline.commands.report import report_run

        return report_run(settings)


def export(run: RunResult | PathLike, output: PathLike | None = None, /, **options: OptionValue) -> "ExportedFiles":
    """Exports a checkpoint, by default to a SavedModel and a frozen graph, and measures the artifacts.

    Args:
      run: a run, its folder, or a checkpoint.
      output: folder for the files (`path_output`). Default: export in the run's folder.
      **options: options of --mode=export, such as `formats` ("tflite_int8,onnx"), `max_ap_drop`, `gate=False`.

    Returns:
      `folder`, `artifacts` {format: path}, the `report` of their accuracy (None if it was not measured), and the
      paths `saved_model`, `frozen_graph`, `label_map` and `hparams`.

    Raises:
      AccuracyError: an artifact lost too much AP; it is deleted, and the others are written.
      MissingExtraError: a format's package is not installed.
    """
    given = with_given(options, path_ckpt=path_of(run), path_output=output)
    with prepared(ExportOptions, "export", given) as (settings, _, hparams):
        from efficientdet_pipeline.commands.export import export_checkpoint

        return export_checkpoint(settings, hparams)


def convert(dataset: PathLike | None = None, output: PathLike | None = None, /, **options: OptionValue) -> "Manifest":
    """Converts annotated images to TFRecord shards; returns immediately if they are up to date.

    Args:
      dataset: a zip, a folder or a URL (`url_dataset`).
      output: folder for the shards (`output_path`). Default: tfrecords in the run's folder.
      **options: options of --mode=dataset, such as `label_map`, `num_shards`, `workspace`.

    Returns:
      The manifest: `folder`, `label_map` {id: name}, and `splits` {name: files and counts}.
    """
    given = with_given(options, url_dataset=dataset, output_path=output)
    with prepared(ConvertOptions, "dataset", given) as (settings, read, hparams):
        if settings.prefix:
            raise OptionsError(
                f"convert writes the shards of a dataset. Received {settings.prefix!r} for google/automl's converters, "
                "which only the command line supports; try --mode=dataset."
            )
        from efficientdet_pipeline.commands.dataset import convert_images

        return convert_images(settings, read, hparams)


def check_dataset(dataset: RunResult | PathLike | None = None, /, **options: OptionValue) -> "list[Issue]":
    """Returns the issues of a dataset, the most harmful first.

    Args:
      dataset: annotated images (a zip, a folder or a URL: `url_dataset`), or a
        RunResult, whose shards, losses and detections are checked. None if
        `train_file_pattern` or `run_dir` is given.
      **options: options of --mode=doctor, such as `image_size`, `label_map`, `fix`.

    Returns:
      Issues: `code`, `severity` (NOTE, WARNING, ERROR), `title`, `count`, `files`
      (all of them), `why`, `remedy`, `detail`, `values`.
    """
    name = "run_dir" if isinstance(dataset, RunResult) else "url_dataset"
    given = with_given(options, **{name: path_of(dataset) if dataset is not None else None})
    with prepared(DoctorOptions, "doctor", given) as (settings, read, hparams):
        from efficientdet_pipeline.doctor.check_data import check_data

        return check_data(settings, read, hparams).issues


class Detector:
    """Detects objects in images.

    Takes image files, or uint8 RGB arrays of shape (h, w, 3), and yields
    `Detections` for each: those that --mode=infer draws, with a score of at least
    `min_score_thresh` (default: the thresholds.yaml of the detector, otherwise
    0.4). Images are decoded and rotated by EXIF as in training and evaluation.

    Args:
      model: a run, its folder, a checkpoint, or an export: a SavedModel folder, a
        frozen graph (.pb), a TFLite, ONNX or OpenVINO (.xml) file.
      **options: options of --mode=infer, such as `min_score_thresh`, `classes`
        (names or ids), `threads`, `tile` ("640x640"), `trust_model`, `hparams`.

    >>> detector = Detector("runs/x/export/saved_model", min_score_thresh=0.5)
    >>> for detections in detector(["a.jpg", array]):
    ...     detections.boxes, detections.class_names
    """

    def __init__(self, model: RunResult | PathLike, /, **options: OptionValue):
        path = path_of(model)
        name = "saved_model_dir" if is_export(Path(path).expanduser()) else "path_ckpt"
        with prepared(DetectorOptions, "infer", with_given(options, **{name: path})) as (settings, _, hparams):
            from efficientdet_pipeline.inference.detector import load_detector

            self._detector = load_detector(settings, hparams)
            self.label_map = dict(self._detector.label_map)

    def __call__(self, images: Image | Iterable[Image]) -> Iterator[Detections]:
        """Yields the detections of each image, and of each frame of a video; images are read lazily.

        Args:
          images: paths and arrays, or one of them. A path may also be a video, the
            number of a camera ("0"), or the URL of a stream.

        Raises:
          MissingError: the file does not exist.
          DataError: a file is not an image or video, or an array is not uint8 of shape (h, w, 3).
        """
        from efficientdet_pipeline.inference.given_images import one_or_several
        from efficientdet_pipeline.inference.video import VideoSource

        for image in one_or_several(images):
            if isinstance(image, str | os.PathLike) and is_video(os.fspath(image)):
                with our_errors():
                    source = VideoSource(os.fspath(image))
                for frame in source.frames():
                    yield self._detect(frame.image)
            else:
                yield self._detect(image)

    def _detect(self, image: Image) -> Detections:
        from efficientdet_pipeline.inference.given_images import pixels_of
        from efficientdet_pipeline.inference.results import class_name

        with our_errors():
            found = self._detector.thresholds.above(self._detector.detect(pixels_of(image)))
        names = [class_name(class_id, self.label_map) for class_id in found.class_ids.tolist()]
        return Detections(found.boxes, found.scores, found.class_ids, np.array(names, dtype=np.str_))


def classify(images: Image | Iterable[Image], /, **options: OptionValue) -> "list[list[ClassScore]]":
    """Returns the top classes of each image, best first: `column`, `name` and `score` (a probability).

    Args:
      images: paths and arrays, or one of them.
      **options: options of --mode=classify, such as `model_name`, `path_ckpt`, `labels_map_file`, `top`.
    """
    with prepared(ClassifierOptions, "classify", with_given(options)) as (settings, _, _):
        from efficientdet_pipeline.inference.imagenet_weights import classify as classify_by

        return classify_by(settings, images)


def features(images: Image | Iterable[Image], /, **options: OptionValue) -> "list[Features]":
    """Returns the EfficientNet features of each image: `reductions` by level, and whether it `looks_trained`.

    Args:
      images: paths and arrays, or one of them.
      **options: options of --mode=features: `model_name`, `path_ckpt`, `cache_dir`, `advprop`.
    """
    with prepared(EncoderOptions, "features", with_given(options)) as (settings, _, _):
        from efficientdet_pipeline.inference.imagenet_weights import extract_features

        return extract_features(settings.network, images)


def path_of(run: RunResult | PathLike) -> str:
    """Returns the folder of a run, or a path as it is."""
    if isinstance(run, RunResult):
        return str(run.folder)
    if not isinstance(run, str | os.PathLike):
        raise OptionsError(f"A path or a RunResult must be given. Received {type(run).__name__} {str(run)[:100]!r}.")
    return os.fspath(run)


def is_export(path: Path) -> bool:
    """Returns whether a path is a SavedModel, or an exported file of another format."""
    # What an address of a bucket names is known by its last part alone.
    is_remote = path.parts[:1] in {("gs:",), ("s3:",)} and path.name in {"saved_model", "export"}
    return is_remote or path.suffix.lower() in EXPORT_SUFFIXES or has_saved_model(path)


def with_given(options: Mapping[str, OptionValue], **given: OptionValue) -> dict[str, OptionValue]:
    """Returns the keyword arguments merged with those passed by position.

    Raises:
      OptionsError: one is passed twice, or is an option of the command line only.
    """
    for name in _COMMAND_LINE_ONLY & options.keys():
        raise OptionsError(f"{name} is an option of the command line only. Received {options[name]!r}; leave it out.")
    present = {name: value for name, value in given.items() if value is not None}
    for name in present.keys() & options.keys():
        raise OptionsError(
            f"{name} must be passed once. Received {present[name]!r} by position and {options[name]!r} by name; leave "
            "one of them out.",
            option=name,
        )
    return {**present, **options}


@contextmanager
def prepared(
    options_class: type[ModeT], mode: str, keywords: Mapping[str, OptionValue]
) -> Iterator[tuple[ModeT, Sources, HparamsGiven]]:
    """Prepares the process for a mode: yields its options, their sources, and what --hparams gives."""
    with our_errors(), console_logging(), ExitStack() as stack:
        classes = {name: each.options_class() for name, each in MODES.items()}
        reader = Reader({**classes, mode: options_class}, DEFAULT_MODE)
        local = stack.enter_context(local_storage(reader.read_keywords(mode, keywords)))
        options, read, hparams = resolve_options(reader, local, options_class)
        if mode == "dataset":
            yield options, read, hparams
            return
        is_late = backend.prepare_environment(debug=options.general.debug)
        backend.choose(options.keras_backend, reads_environment=False)
        check_processor()
        with silent_native_log(unless=options.general.debug or "keras" in sys.modules):
            import keras  # noqa: F401 - TensorFlow prints while it is loaded
        with _default_precision():
            if is_late and mode in {"traineval", "train"}:
                backend.warn_of_late_settings()
            yield options, read, hparams


@contextmanager
def _default_precision() -> Iterator[None]:
    """Sets Keras's precision to float32 inside the context, and restores the previous setting afterwards."""
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


@contextmanager
def our_errors() -> Iterator[None]:
    """Converts errors that a user can correct, from any package, to ours."""
    try:
        yield
    except Exception as error:
        ours = pipeline_error(error)
        if ours is error:
            raise
        raise ours from error


def _run_result(folder: "RunFolder") -> RunResult:
    from efficientdet_pipeline.runs.metadata import read_json
    from efficientdet_pipeline.training.finalize import chosen_checkpoint

    return RunResult(folder.path.absolute(), chosen_checkpoint(folder)[1].absolute(), read_json(folder.metrics))
