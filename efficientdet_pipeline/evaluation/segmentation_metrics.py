"""Metrics of semantic segmentation in NumPy: confusion matrix, IoU, accuracy, Dice and boundary F1.

`h w` height and width, `k` classes, class 0 included. Pixels whose ground
truth is `ignore_id` are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

IGNORE_ID = 255
BOUNDARY_TOLERANCE = 0.0075
"""Distance up to which boundaries match, as a fraction of the image's diagonal (Csurka et al. 2013)."""


@dataclass(frozen=True, kw_only=True)
class SegmentationMetrics:
    """Metrics over a data set. A class in neither ground truth nor prediction is NaN, and excluded from means."""

    confusion: np.ndarray
    """(k, k) int64, number of pixels; rows are true classes, columns predicted ones."""
    iou: np.ndarray
    """(k,) intersection over union."""
    dice: np.ndarray
    """(k,) Dice coefficient, equal to the F1 score over pixels."""
    accuracy: np.ndarray
    """(k,) recall of each class; NaN for a class without true pixels."""
    boundary_f1: np.ndarray
    """(k,) boundary F1, averaged over images in which the class has a known boundary; NaN without such images."""

    @property
    def mean_iou(self) -> float:
        """Mean of `iou`."""
        return _mean(self.iou)

    @property
    def pixel_accuracy(self) -> float:
        """Share of correctly classified pixels; NaN without pixels."""
        total = int(self.confusion.sum())
        return float(np.trace(self.confusion) / total) if total else float("nan")

    @property
    def mean_accuracy(self) -> float:
        """Mean of `accuracy`."""
        return _mean(self.accuracy)

    @property
    def mean_dice(self) -> float:
        """Mean of `dice`."""
        return _mean(self.dice)

    @property
    def mean_boundary_f1(self) -> float:
        """Mean of `boundary_f1`."""
        return _mean(self.boundary_f1)

    def values(self, names: Mapping[int, str] = MappingProxyType({})) -> dict[str, float]:
        """Returns all metrics by name, such as mIoU and IoU/person, in the order of a report.

        Args:
          names: class id → name; a class without a name is named by its id.
        """
        found = {
            "mIoU": self.mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "Dice": self.mean_dice,
            "boundary_F1": self.mean_boundary_f1,
        }
        for title, column in (("IoU", self.iou), ("Dice", self.dice), ("boundary_F1", self.boundary_f1)):
            found |= {f"{title}/{names.get(index, index)}": float(value) for index, value in enumerate(column)}
        return found


class SegmentationEvaluator:
    """Accumulates pixel counts image by image; `metrics` returns the result.

    >>> evaluator = SegmentationEvaluator(num_classes=2)
    >>> evaluator.add(truth=[[0, 1], [1, 255]], predicted=[[0, 1], [0, 1]])
    >>> evaluator.metrics().iou
    array([0.5, 0.5])
    """

    def __init__(
        self, num_classes: int, *, ignore_id: int = IGNORE_ID, boundary_tolerance: float = BOUNDARY_TOLERANCE
    ) -> None:
        """Starts without pixels.

        Args:
          num_classes: k, class 0 included.
          ignore_id: ground-truth value of ignored pixels.
          boundary_tolerance: fraction of an image's diagonal; 0 skips boundary F1, which is then NaN.
        """
        if num_classes < 1:
            raise ValueError(f"num_classes must be 1 or more. Received {num_classes}.")
        self.num_classes = num_classes
        self.ignore_id = ignore_id
        self.boundary_tolerance = boundary_tolerance
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self._boundary_sums = np.zeros(num_classes)
        self._boundary_counts = np.zeros(num_classes, np.int64)

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> float:
        """Adds one image and returns its mean IoU, by which a report ranks the worst images.

        Args:
          truth: (h, w) class ids, or `ignore_id`.
          predicted: (h, w) class ids.

        Raises:
          ValueError: the sizes differ, or an id is out of range.
        """
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        if truth.shape != predicted.shape or truth.ndim != 2:
            raise ValueError(
                f"truth and predicted must both be (height, width). Received {truth.shape} and {predicted.shape}."
            )
        counted = truth != self.ignore_id
        for name, values in (("truth", truth[counted]), ("predicted", predicted[counted])):
            if values.size and not 0 <= values.min() <= values.max() < self.num_classes:
                raise ValueError(
                    f"Class ids of {name} must be from 0 to {self.num_classes - 1}. Received {values.min()} to "
                    f"{values.max()}; check num_classes={self.num_classes}."
                )
        own = confusion_matrix(truth[counted], predicted[counted], self.num_classes)
        self.confusion += own
        if self.boundary_tolerance:
            scores = boundary_scores(
                truth, predicted, self.num_classes, ignore_id=self.ignore_id, tolerance=self.boundary_tolerance
            )
            present = ~np.isnan(scores)
            self._boundary_sums[present] += scores[present]
            self._boundary_counts += present
        return _mean(_ratios(own)[0])

    def metrics(self) -> SegmentationMetrics:
        """Returns the metrics of all images added so far."""
        iou, dice, accuracy = _ratios(self.confusion)
        boundary = _divided(self._boundary_sums, self._boundary_counts)
        return SegmentationMetrics(
            confusion=self.confusion.copy(), iou=iou, dice=dice, accuracy=accuracy, boundary_f1=boundary
        )


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the number of occurrences of each (true, predicted) pair of ids: (k, k) int64, rows are true ids.

    Args:
      truth: ids from 0 to k - 1, any shape.
      predicted: ids from 0 to k - 1, of the same shape.
      num_classes: k.
    """
    pairs = truth.astype(np.int64).ravel() * num_classes + predicted.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def boundary_scores(
    truth: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    *,
    ignore_id: int = IGNORE_ID,
    tolerance: float = BOUNDARY_TOLERANCE,
) -> np.ndarray:
    """Returns the boundary F1 of each class on one image, (k,); NaN if the class has no boundary in either.

    Boundary pixels of a class have a pixel of another class above, below or
    beside them; ignored pixels are not boundary pixels. A boundary pixel matches
    if one of the other boundary is within `tolerance` diagonals. F1 is that of
    precision and recall of these pixels (Csurka et al. 2013).

    The boundary of a class is unknown, and NaN, where more of its true pixels
    lie beside ignored ones than beside other classes: Pascal VOC ignores the
    borders of all objects.
    """
    radius = max(tolerance * float(np.hypot(*truth.shape)), 0.0)
    counted = truth != ignore_id
    scores = np.full(num_classes, np.nan)
    for class_id in range(num_classes):
        true, found = (_boundary(values == class_id, counted) for values in (truth, predicted))
        is_unknown = _beside(truth == class_id, ~counted).sum() > true.sum()
        if is_unknown or not (true.any() or found.any()):
            continue
        precision, recall = _matched(found, true, radius), _matched(true, found, radius)
        scores[class_id] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def _boundary(is_class: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return _beside(is_class & counted, ~is_class & counted)


def _beside(area: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the pixels of an area that have one of the other above, below or beside them."""
    near = np.zeros_like(area)
    near[1:] |= other[:-1]
    near[:-1] |= other[1:]
    near[:, 1:] |= other[:, :-1]
    near[:, :-1] |= other[:, 1:]
    return near & area


def _matched(boundary: np.ndarray, other: np.ndarray, radius: float) -> float:
    """Returns the share of boundary pixels with a pixel of the other boundary within the radius."""
    if not boundary.any() or not other.any():
        return 0.0
    distances = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squared distances between pixels are integers; rounding restores the exact value.
    squares = np.rint(distances[boundary].astype(np.float64) ** 2)
    return float((squares <= radius**2).mean())


def _ratios(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns IoU, Dice and recall of each class."""
    hits = np.diag(confusion).astype(np.float64)
    true, found = confusion.sum(1), confusion.sum(0)
    return _divided(hits, true + found - hits), _divided(2 * hits, true + found), _divided(hits, true)


def _divided(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.where(by > 0, values / np.maximum(by, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")
