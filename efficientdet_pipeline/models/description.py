"""What the files beside trained weights or an export say of it: its network and its classes."""

import dataclasses
from pathlib import Path

from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.config import DetectorConfig, get_config
from efficientdet.detectors.config import is_parts, read_parts
from efficientdet.hparams_yaml import read_hparams_yaml

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.models.weights import DESCRIPTION
from efficientdet_pipeline.options.infer import EXPORT_SUFFIXES, has_saved_model
from efficientdet_pipeline.options.label_map import LabelMapValue
from tfrmod.errors import DatasetError
from tfrmod.text import clean_name, load_yaml, read_text

LABEL_MAP = "label_map.yaml"
MAX_LABEL_MAP_BYTES = 1 << 20
SAVED_MODEL = "saved_model.pb"


def is_export(path: Path) -> bool:
    """Returns whether a path is a SavedModel, a folder with one, a frozen graph or another exported file."""
    return path.suffix.lower() in EXPORT_SUFFIXES or has_saved_model(path)


def refuse_export(path: Path) -> None:
    """Raises OptionsError if a path that must be of a checkpoint is of an export."""
    if is_export(path) and not any(path.glob("*.index")) and not any(path.glob("*.h5")):
        raise OptionsError(
            f"path_ckpt must name a run or a checkpoint. Received {path}, which is an export; name it by "
            "--saved_model_dir, an option of --mode=infer, video, eval and serve.",
            option="path_ckpt",
        )


def read_description(path: Path) -> tuple[AnyDetectorConfig, LabelMapValue]:
    """Returns the detector that a hparams_config.yaml describes, and its label map as it is written there.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it does not describe a detector.
    """
    content = read_hparams_yaml(path)
    label_map = content.pop("label_map", None)
    if is_parts(content):
        return read_parts(content), label_map
    names = {field.name for field in dataclasses.fields(DetectorConfig)} - {"name"}
    return get_config(str(content.get("name")), **{key: content[key] for key in names & content.keys()}), label_map


def config_beside(path: Path) -> AnyDetectorConfig | None:
    """Returns the network that the hparams_config.yaml beside a file describes; None if there is no such file.

    Raises:
      DataError: it does not describe a network.
    """
    place = path.parent / DESCRIPTION
    if not place.is_file():
        return None
    try:
        return read_description(place)[0]
    except ValueError as error:
        raise DataError(
            f"{place} must describe the network of {path.name}. It cannot be read: {error}. Copy it from the folder of "
            "the export."
        ) from error


def described_beside(path: Path) -> tuple[dict[int, str], int | None, Path]:
    """Returns an export's own class names, its number of classes (None if unknown), and the file that states it.

    Raises:
      DataError: a file beside the export cannot be read.
    """
    own = label_map_beside(path) or {}
    for folder in (path, path.parent, path.parent.parent):
        if (folder / DESCRIPTION).is_file() and (folder / LABEL_MAP).is_file():
            try:
                count = read_hparams_yaml(folder / DESCRIPTION).get("num_classes")
            except ValueError as error:
                raise DataError(f"{error} It describes the export; export again with --mode=export.") from error
            return own, count if isinstance(count, int) else None, folder / LABEL_MAP
    return own, None, path


def label_map_beside(path: str | Path) -> dict[int, str] | None:
    """Returns the label map beside an export, or None.

    Raises:
      DataError: it is not a label map.
    """
    path = Path(path).expanduser()
    if path.name == SAVED_MODEL:
        path = path.parent
    for folder in (path, path.parent):
        if (folder / LABEL_MAP).is_file():
            return _label_map(folder / LABEL_MAP)
    return None


def _label_map(path: Path) -> dict[int, str]:
    try:
        content = load_yaml(read_text(path, max_bytes=MAX_LABEL_MAP_BYTES).text) or {}
        return {int(class_id): clean_name(name) for class_id, name in content.items()}
    except (DatasetError, AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} must be the label map of an export, a YAML file of `id: name` lines. It cannot be read: {error}. "
            "Correct it, or export the checkpoint again with --mode=export."
        ) from error
