"""Python API of segmentation and classification: `Segmenter` and `Classifier`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from efficientdet_pipeline.api import Image, PathLike, RunResult, is_export, our_errors, path_of, prepared, with_given
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.infer import DetectorOptions
from efficientdet_pipeline.options.keywords import OptionValue

if TYPE_CHECKING:
    from efficientdet_pipeline.inference.class_predictor import ClassPredictor
    from efficientdet_pipeline.inference.classification import ClassScore

IGNORED = ("min_score_thresh", "classes", "tile", "tile_overlap", "hparams")
"""Options of --mode=infer that detectors alone read."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The classes of the pixels of one image."""

    class_map: np.ndarray
    """(h, w) uint8, class ids as in `Segmenter.label_map`."""
    probabilities: np.ndarray
    """(h, w, k) float32, 0 to 1; one column is the probability of class 1."""
    shares: Mapping[str, float]
    """{class name: share of the pixels}, of the classes that occur."""


class Segmenter:
    """Finds the class of each pixel of images.

    Takes image files, or uint8 RGB arrays of shape (h, w, 3), and yields a
    `Segmentation` for each, as --mode=infer writes it.

    Args:
      model: a run of --task=segmentation, its folder, a checkpoint, or an export: a
        SavedModel folder, a frozen graph (.pb), a TFLite, ONNX or OpenVINO (.xml) file.
      **options: `trust_model` and `threads` of --mode=infer.

    Raises:
      OptionsError: `model` is no segmentation.

    >>> for found in Segmenter("runs/x")(["a.jpg", array]):
    ...     found.class_map, found.shares
    """

    def __init__(self, model: RunResult | PathLike, /, **options: OptionValue):
        self._predictor = _load(model, "segmentation", options)
        self.label_map = {column: str(name) for column, name in self._predictor.network.label_map.items()}

    def __call__(self, images: Image | Iterable[Image]) -> Iterator[Segmentation]:
        """Yields the segmentation of each image; an image is read when its turn comes.

        Raises:
          MissingError: there is no such file.
          DataError: a file is no image, or an array is not uint8 of shape (h, w, 3).
        """
        for pixels in _pixels(images):
            with our_errors():
                class_map, chances = self._predictor.class_map(pixels)
            ids, counts = np.unique(class_map, return_counts=True)
            names = [self.label_map.get(class_id, str(class_id)) for class_id in ids.tolist()]
            shares = (counts / class_map.size).tolist()
            yield Segmentation(class_map, chances, dict(zip(names, shares, strict=True)))


class Classifier:
    """Finds the class of images by a network that was trained with --task=classification.

    Takes image files, or uint8 RGB arrays of shape (h, w, 3), and yields the best
    classes of each, best first: `column`, `name` and `score` (a probability).
    `classify` does so with ImageNet's classes.

    Args:
      model: a run of --task=classification, its folder, a checkpoint, or an export.
      top: number of classes for each image.
      **options: `trust_model` and `threads` of --mode=infer.

    Raises:
      OptionsError: `model` is no classifier.

    >>> for best in Classifier("runs/x")(["a.jpg", array]):
    ...     best[0].name, best[0].score
    """

    def __init__(self, model: RunResult | PathLike, /, *, top: int = 5, **options: OptionValue):
        self._predictor = _load(model, "classification", options)
        self.label_map = {column: str(name) for column, name in self._predictor.network.label_map.items()}
        self.top = top

    def __call__(self, images: Image | Iterable[Image]) -> "Iterator[list[ClassScore]]":
        """Yields the best classes of each image; an image is read when its turn comes.

        Raises:
          MissingError: there is no such file.
          DataError: a file is no image, or an array is not uint8 of shape (h, w, 3).
        """
        from efficientdet_pipeline.inference.classification import best_classes

        for pixels in _pixels(images):
            with our_errors():
                chances = self._predictor.probabilities(pixels)
            yield best_classes(chances, self._predictor.network.names, self.top)


def _pixels(images: Image | Iterable[Image]) -> Iterator[np.ndarray]:
    from efficientdet_pipeline.inference.given_images import one_or_several, pixels_of

    for image in one_or_several(images):
        with our_errors():
            pixels = pixels_of(image)
        yield pixels


def _load(model: RunResult | PathLike, task: str, options: Mapping[str, OptionValue]) -> "ClassPredictor":
    """Returns the network that a path names.

    Raises:
      OptionsError: it is of another task, or an option is for detectors alone.
    """
    for name in IGNORED:
        if name in options:
            raise OptionsError(f"{name} is for detectors. Received it for a {task}; leave it out.", option=name)
    path = path_of(model)
    exported = is_export(Path(path).expanduser())
    given = with_given(options, **{"saved_model_dir" if exported else "path_ckpt": path})
    with prepared(DetectorOptions, "infer", given) as (settings, _, _):
        from efficientdet_pipeline.inference.class_predictor import checkpoint_predictor, exported_predictor
        from efficientdet_pipeline.models.class_networks import class_weights_of
        from efficientdet_pipeline.models.weights import trained_weights

        chosen = settings.detection
        if exported:
            found = exported_predictor(
                Path(path).expanduser(), is_trusted=chosen.trust_model, num_threads=chosen.threads or None
            )
        else:
            trained_weights(settings.checkpoint, settings.run)  # Says what is missing.
            weights = class_weights_of(settings.checkpoint, settings.run)
            found = checkpoint_predictor(weights) if weights is not None else None
        if found is None or found.network.task != task:
            what = (
                f"the {found.network.task} {found.network.name}" if found is not None else "a detector, or another file"
            )
            raise OptionsError(f"{path} must be a {task} network. Received {what}.")
        return found
