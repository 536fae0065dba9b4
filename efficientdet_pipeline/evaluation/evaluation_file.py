"""evaluation.npz: ground truth and detections of an evaluation, for reports and comparisons."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.instances import FoundBoxes, Instances, TruthBoxes, flatten
from efficientdet_pipeline.evaluation.kept_detections import Detected
from tfrmod import fileio

FILE_NAME = "evaluation.npz"
_ABOUT = "about"


@dataclass(frozen=True, kw_only=True)
class SavedEvaluation:
    """One evaluation, and the location of its images."""

    instances: Instances
    label_map: Mapping[int, str]
    file_names: Mapping[str, str] = field(default_factory=dict)
    """Source id to file name of the image; images without a file name are missing."""
    shards: tuple[str, ...] = ()
    """Shards that hold the images; may be empty."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Source id to record number, counted over the sorted shards."""
    facts: Mapping[str, str | float] = field(default_factory=dict)
    """Description of the evaluation: checkpoint, epoch, data, milliseconds per image."""


def saved_evaluation(
    detected: Detected,
    label_map: Mapping[int, str],
    *,
    shards: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
    facts: Mapping[str, str | float] | None = None,
) -> SavedEvaluation:
    """Returns the content of an evaluation file.

    Args:
      detected: ground truth, in the order of the records, and detections.
      label_map: class id to name.
      shards: the shards with the images.
      numbers: of the evaluated records, ascending; None means all.
      facts: description of the evaluation.

    Raises:
      DataError: an image occurs twice, or has detections but no ground truth.
    """
    truth, found = detected
    order = range(len(truth)) if numbers is None else numbers
    return SavedEvaluation(
        instances=flatten(truth, found, label_map),
        label_map=dict(label_map),
        file_names={image.source_id: image.file_name for image in truth if image.file_name},
        shards=tuple(str(Path(file).absolute()) for file in shards),
        numbers={image.source_id: int(number) for image, number in zip(truth, order, strict=True)} if shards else {},
        facts=dict(facts or {}),
    )


def write_evaluation(path: Path, saved: SavedEvaluation) -> None:
    """Writes an evaluation file atomically.

    Boxes are stored in 32 bits if that is lossless, which it is for those of a detector.
    """
    truth, found = saved.instances.truth, saved.instances.found
    about = {
        "source_ids": saved.instances.source_ids,
        "class_ids": saved.instances.class_ids,
        "label_map": {str(class_id): name for class_id, name in saved.label_map.items()},
        "file_names": dict(saved.file_names),
        "shards": saved.shards,
        "numbers": dict(saved.numbers),
        "facts": dict(saved.facts),
    }
    arrays = {
        _ABOUT: np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8),
        "truth_images": truth.images.astype(np.int32),
        "truth_class_ids": truth.class_ids.astype(np.int32),
        "truth_areas": _small(truth.areas),
        "truth_is_crowd": truth.is_crowd,
        "truth_is_difficult": truth.is_difficult,
        "found_images": found.images.astype(np.int32),
        "found_class_ids": found.class_ids.astype(np.int32),
        "found_scores": _small(found.scores),
        **_boxes("truth", truth.boxes_xywh),
        **_boxes("found", found.boxes_xywh),
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type] # the stub reads the names as its own options
    path.parent.mkdir(parents=True, exist_ok=True)
    fileio.write_file(path, content.getvalue())


def read_evaluation(path: Path) -> SavedEvaluation:
    """Returns an evaluation written by `write_evaluation`.

    Raises:
      FileNotFoundError: the file does not exist.
      DataError: it is damaged, or not an evaluation file.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _read(arrays)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{path} must hold an evaluation. It cannot be read: {type(error).__name__}: {error}. Evaluate again: "
            "--mode=eval writes it."
        ) from error


def _read(arrays: Mapping[str, np.ndarray]) -> SavedEvaluation:
    about = json.loads(bytes(arrays[_ABOUT]).decode())
    truth = TruthBoxes(
        images=arrays["truth_images"].astype(np.int64),
        class_ids=arrays["truth_class_ids"].astype(np.int64),
        boxes_xywh=_boxes_xywh("truth", arrays),
        areas=arrays["truth_areas"].astype(np.float64),
        is_crowd=arrays["truth_is_crowd"],
        is_difficult=arrays["truth_is_difficult"],
    )
    found = FoundBoxes(
        images=arrays["found_images"].astype(np.int64),
        class_ids=arrays["found_class_ids"].astype(np.int64),
        boxes_xywh=_boxes_xywh("found", arrays),
        scores=arrays["found_scores"].astype(np.float64),
    )
    return SavedEvaluation(
        instances=Instances(tuple(about["source_ids"]), tuple(about["class_ids"]), truth, found),
        label_map={int(class_id): name for class_id, name in about["label_map"].items()},
        file_names=about["file_names"],
        shards=tuple(about["shards"]),
        numbers=about["numbers"],
        facts=about["facts"],
    )


def _boxes(side: str, boxes_xywh: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the boxes as corners in 32 bits if that is lossless, else unchanged."""
    corners = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1).astype(np.float32)
    if np.array_equal(_from_corners(corners), boxes_xywh):
        return {f"{side}_corners": corners}
    return {f"{side}_xywh": boxes_xywh}


def _boxes_xywh(side: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    name = f"{side}_corners"
    return _from_corners(arrays[name]) if name in arrays else arrays[f"{side}_xywh"].astype(np.float64)


def _from_corners(corners: np.ndarray) -> np.ndarray:
    wide = corners.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)


def _small(values: np.ndarray) -> np.ndarray:
    small = values.astype(np.float32)
    return small if np.array_equal(small.astype(np.float64), values) else values
