"""Detector that the options name, with its classes and thresholds, for detection image by image."""

import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf
from absl import logging

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.inference.artifacts import check_one_artifact, load_artifact
from efficientdet_pipeline.inference.image_io import similar_names
from efficientdet_pipeline.inference.predictor import Predictor
from efficientdet_pipeline.inference.results import ImageDetections, class_name, per_image
from efficientdet_pipeline.inference.thresholds import (
    Thresholds,
    class_id_of,
    find_thresholds,
    listed_classes,
    scores_by_class,
)
from efficientdet_pipeline.inference.tiling import detect_tiled
from efficientdet_pipeline.models.build import read_network
from efficientdet_pipeline.models.class_names import chosen_class_names
from efficientdet_pipeline.models.description import described_beside
from efficientdet_pipeline.models.weights import trained_weights
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.infer import MIN_SCORE, DetectionOptions, DetectorOptions
from tfrmod.replacement import finish_replacement

Key = TypeVar("Key")
_LABELS_INSIDE = "labels.txt"
_MAX_LABELS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class LoadedDetector:
    """A predictor, and the options of its use."""

    predictor: Predictor
    label_map: Mapping[int, str]
    thresholds: Thresholds
    """Minimum scores of reported detections."""
    class_ids: Collection[int] = field(default_factory=frozenset)
    """Ids of the classes to detect; empty means all."""
    tile: tuple[int, int] | None = None
    """Height and width of the tiles that images are cut into; None for whole images."""
    tile_overlap: float = 0.2

    def detect(self, image: np.ndarray) -> ImageDetections:
        """Returns the detections of an image, uint8 RGB (h, w, 3): all scores, clipped to the image, best first."""
        return next(self.detect_each([(0, image)]))[2]

    def detect_each(
        self, images: Iterable[tuple[Key, np.ndarray]], batch_size: int = 1
    ) -> Iterator[tuple[Key, np.ndarray, ImageDetections]]:
        """Yields (key, image, detections) of each (key, image), in their order.

        Args:
          images: uint8 RGB (h, w, 3).
          batch_size: consecutive images of one size per batch; with tiling, tiles of one image per batch.
        """
        if self.tile is not None:
            for key, image in images:
                found = detect_tiled(
                    self.predictor, image, tile=self.tile, overlap=self.tile_overlap, batch_size=batch_size
                )
                yield key, image, self._asked_for(found)
            return
        for batch in _batches(images, batch_size):
            found_in_batch = per_image(self.predictor.detect(np.stack([image for _, image in batch])))
            for (key, image), found in zip(batch, found_in_batch, strict=True):
                yield key, image, self._asked_for(found.within(*image.shape[:2]))

    def _asked_for(self, found: ImageDetections) -> ImageDetections:
        return found.of_classes(self.class_ids) if self.class_ids else found


def _batches(images: Iterable[tuple[Key, np.ndarray]], batch_size: int) -> Iterator[list[tuple[Key, np.ndarray]]]:
    batch: list[tuple[Key, np.ndarray]] = []
    for key, image in images:
        if batch and image.shape != batch[0][1].shape:
            yield batch
            batch = []
        batch.append((key, image))
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def load_detector(options: DetectorOptions, hparams: HparamsGiven) -> LoadedDetector:
    """Returns the detector that the options name: a checkpoint, a run, or an export.

    Raises:
      MissingError: there is no such detector.
      OptionsError: the options are ambiguous, or one does not apply.
      MissingExtraError: the export's runtime is not installed.
      DataError: it is damaged, or not trusted and contains operations that do more than compute.
    """
    chosen = options.detection
    limit_threads(chosen.threads)
    if chosen.saved_model_dir:
        predictor, label_map, folders = _exported(chosen, hparams)
    else:
        trained = trained_weights(options.checkpoint, options.run)
        network = read_network(trained.description, options.model, hparams)
        logging.info("Detecting with %s", trained.path)
        predictor = load_artifact(trained.path, network.config, is_trusted=chosen.trust_model)
        label_map = network.label_map
        folders = [trained.path.parent, *([trained.run.path] if trained.run is not None else [])]
    return LoadedDetector(
        predictor=predictor,
        label_map=label_map,
        thresholds=_thresholds(chosen, folders, label_map),
        class_ids=chosen_class_ids(chosen.classes, label_map),
        tile=chosen.tile_size,
        tile_overlap=chosen.tile_overlap,
    )


def _exported(options: DetectionOptions, hparams: HparamsGiven) -> tuple[Predictor, dict[int, str], list[Path]]:
    path = Path(options.saved_model_dir).expanduser()
    for folder in (path, path.parent):
        finish_replacement(folder)  # Left by an interrupted export.
    if not path.exists():
        raise MissingError(
            f"The export {options.saved_model_dir!r} does not exist.{similar_names(path)} Check --saved_model_dir."
        )
    check_one_artifact(path)
    own, num_classes, place = described_beside(path)
    own = own or _labels_inside(path)
    names = chosen_class_names(hparams, own, num_classes=num_classes, described_by=place)
    predictor = load_artifact(path, num_threads=options.threads or None, is_trusted=options.trust_model)
    return predictor, names, [path, path.parent]


def _labels_inside(path: Path) -> dict[int, str]:
    """Returns the class names in the MediaPipe metadata of a TFLite file; empty for other files."""
    if path.suffix.lower() != ".tflite" or not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        named = [each for each in archive.infolist() if each.filename == _LABELS_INSIDE]
        if not named or named[0].file_size > _MAX_LABELS:
            return {}
        lines = archive.read(named[0]).decode("utf-8", "replace").splitlines()
    return {number: line.strip() for number, line in enumerate(lines, start=1) if line.strip()}


def _thresholds(options: DetectionOptions, folders: Iterable[Path], label_map: Mapping[int, str]) -> Thresholds:
    """Returns the given thresholds of single classes, above the given one of all, thresholds.yaml, or the default."""
    try:
        own = scores_by_class(options.scores_of_classes(), label_map)
    except ValueError as error:
        raise OptionsError(
            f"class_thresholds must be classes of the detector and their minimum scores, such as cat=0.3,dog=0.6. "
            f"Received {options.class_thresholds!r}: {error}.",
            option="class_thresholds",
        ) from error
    others, source = _thresholds_of_all(options.min_score_thresh, folders, label_map)
    found = Thresholds(others.default, {**others.by_class, **own})
    if found != Thresholds(MIN_SCORE):
        rest = {class_id: score for class_id, score in others.by_class.items() if class_id not in own}
        alone = not own and not rest
        shown = [*_scores(rest, label_map), f"{'' if alone else 'else '}{others.default:.2f}"]
        given = [f" of --class_thresholds: {', '.join(_scores(own, label_map))}"] if own else []
        text = ";".join([*given, f" of {source}: {', '.join(shown)}"])
        advice = f" --min_score_thresh sets one for all{' others' if own else ''}."
        logging.info("Score thresholds%s.%s", text, advice if options.min_score_thresh is None else "")
    return found


def _scores(by_class: Mapping[int, float], label_map: Mapping[int, str]) -> list[str]:
    return [f"{class_name(class_id, label_map)} {score:.2f}" for class_id, score in by_class.items()]


def _thresholds_of_all(
    given: float | None, folders: Iterable[Path], label_map: Mapping[int, str]
) -> tuple[Thresholds, str]:
    """Returns the thresholds of classes that are not given one by one, and their source."""
    if given is not None:
        return Thresholds(given), "--min_score_thresh"
    found = find_thresholds(folders, label_map)
    if found is None:
        return Thresholds(MIN_SCORE), "the default"
    place, thresholds = found
    return thresholds, str(place)


def limit_threads(count: int) -> None:
    """Sets the number of threads of TensorFlow for this process; 0 keeps the default."""
    if not count:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        if tf.config.threading.get_intra_op_parallelism_threads() != count:
            logging.warning(
                "threads=%d limits TFLite, ONNX and OpenVINO only: TensorFlow has started already in this process.",
                count,
            )


def chosen_class_ids(given: str, label_map: Mapping[int, str]) -> set[int]:
    """Returns the ids of the classes given by name or id; empty for all."""
    wanted = [word for word in map(str.strip, given.split(",")) if word]
    found = {word: class_id_of(word, label_map) for word in wanted}
    unknown = [word for word, class_id in found.items() if class_id is None]
    known = {word: class_id for word, class_id in found.items() if class_id is not None}
    if unknown:
        listed = listed_classes(label_map, unknown[0])
        raise OptionsError(
            f"classes must name classes of the detector. Received {unknown[0]!r}; known: {listed}.", option="classes"
        )
    if known:
        shown = ", ".join(f"{class_id} {class_name(class_id, label_map)}" for class_id in sorted(known.values()))
        logging.info("Detecting these classes only: %s", shown)
    return set(known.values())
