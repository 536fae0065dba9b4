"""Predictors for checkpoints, SavedModels, frozen graphs, TFLite, ONNX and OpenVINO files."""

from pathlib import Path

from efficientdet.any_detector import AnyDetectorConfig

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.inference.image_io import similar_names
from efficientdet_pipeline.inference.onnx_loader import onnx_predictor
from efficientdet_pipeline.inference.openvino_loader import openvino_predictor
from efficientdet_pipeline.inference.predictor import SAVED_MODEL, Predictor, load_predictor
from efficientdet_pipeline.inference.tflite_loader import tflite_predictor
from efficientdet_pipeline.models.description import config_beside
from efficientdet_pipeline.models.weights import DESCRIPTION
from efficientdet_pipeline.options.infer import EXPORT_SUFFIXES, NETWORK_SUFFIXES, has_saved_model
from tfrmod import fileio

CHECKSUMS = "sha256sums.txt"


def load_artifact(
    path: str | Path,
    config: AnyDetectorConfig | None = None,
    *,
    mode: str = "per_class",
    resize: str | None = None,
    num_threads: int | None = None,
    is_trusted: bool = False,
) -> Predictor:
    """Returns a predictor for the model at a path, with the pre- and post-processing of evaluation.

    A file ending in .tflite, .onnx or .xml is such an artifact; its network is
    described by the hparams_config.yaml beside it, unless `config` is given.
    Other paths are loaded by `predictor.load_predictor`.

    Args:
      config: of the network.
      mode: of non-maximum suppression; a SavedModel, a frozen graph and a
        post-processed TFLite file contain their own.
      resize: how images are resized to the canvas of an artifact without
        pre-processing: letterbox, or stretch as in MediaPipe; None for the network's own.
      num_threads: of the artifact's runtime.
      is_trusted: as for `load_predictor`.

    Raises:
      FileNotFoundError: the path does not exist.
      OptionsError: a checkpoint without a `config`.
      MissingExtraError: the artifact's runtime is not installed.
      DataError: the file is empty, damaged, changed since the export, of another model, or not described.
    """
    place = Path(path).expanduser()
    check_unchanged(place)
    suffix = place.suffix.lower()
    _check_not_empty(place)
    if suffix not in NETWORK_SUFFIXES:
        return load_predictor(path, config, mode=mode, is_trusted=is_trusted)
    if not place.is_file():
        raise FileNotFoundError(f"The model {place} does not exist.{similar_names(place)}")
    described = config or config_beside(place)
    if suffix == ".tflite":
        return tflite_predictor(place, described, mode=mode, resize=resize, num_threads=num_threads)
    if described is None:
        raise DataError(
            f"{place} contains the network alone, whose description must be beside it as {DESCRIPTION}. It is missing; "
            "copy "
            "it from the folder of the export."
        )
    load = onnx_predictor if suffix == ".onnx" else openvino_predictor
    return load(place, described, mode=mode, resize=resize, num_threads=num_threads)


def _check_not_empty(place: Path) -> None:
    files = [place, place / SAVED_MODEL, place / "saved_model" / SAVED_MODEL]
    for file in files if place.suffix.lower() in EXPORT_SUFFIXES or place.is_dir() else []:
        if file.is_file() and not file.stat().st_size:
            raise DataError(
                f"{file} must be an exported detector. Received an empty file; export the checkpoint again."
            )


def check_one_artifact(path: Path) -> None:
    """Raises OptionsError if a path is no export, or the folder of several but of no SavedModel."""
    if path.is_file() and path.suffix.lower() not in EXPORT_SUFFIXES:
        raise OptionsError(
            f"saved_model_dir must name an export: a SavedModel folder, or a file ending in "
            f"{', '.join(EXPORT_SUFFIXES)}. Received {path}; for a checkpoint use --path_ckpt.",
            option="saved_model_dir",
        )
    if not path.is_dir() or has_saved_model(path):
        return
    found = sorted(each.name for each in path.iterdir() if each.suffix in EXPORT_SUFFIXES)
    if not found:
        raise OptionsError(
            f"saved_model_dir must name an export. Received the folder {path}, which contains neither a SavedModel nor "
            f"files ending in {', '.join(EXPORT_SUFFIXES)}; for a run or a checkpoint use --path_ckpt.",
            option="saved_model_dir",
        )
    raise OptionsError(
        f"saved_model_dir must name one artifact. Received the folder {path}, which contains no SavedModel; try "
        f"{path / found[0]}" + (f", or one of {', '.join(found[1:])}." if found[1:] else "."),
        option="saved_model_dir",
    )


def check_unchanged(path: Path) -> None:
    """Checks that an artifact is what the checksums beside it say; without checksums it is taken as it is.

    Args:
      path: a file, the folder of a SavedModel, or the folder of an export with one.

    Raises:
      DataError: one of its files has changed since the export: damaged weights give wrong detections, not errors.
    """
    if path.name == SAVED_MODEL:
        path = path.parent
    if (path / "saved_model" / SAVED_MODEL).is_file():
        path = path / "saved_model"
    try:
        lines = (path.parent / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    own = {path.name, path.with_suffix(".bin").name if path.suffix.lower() == ".xml" else path.name}
    for line in lines:
        expected, _, name = line.partition("  ")
        file = path.parent / name
        is_own = name in own or name.startswith(f"{path.name}/")
        if is_own and file.is_file() and fileio.sha256_of(file) != expected:
            raise DataError(
                f"{file} must be unchanged since the export, with the SHA-256 {expected[:12]}… of {CHECKSUMS} beside "
                "it. It is not: it is damaged or was replaced; copy or export it again, or delete its line in "
                f"{CHECKSUMS} if you changed it."
            )
