"""Classification metrics: accuracy, top-5 accuracy, confusion matrix, precision and recall, in NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from efficientdet_pipeline.evaluation.segmentation_metrics import confusion_matrix


@dataclass(frozen=True, kw_only=True)
class ClassificationMetrics:
    """Metrics over a data set of k classes; NaN where undefined."""

    accuracy: float
    """Share of the images whose top class is correct."""
    top5: float
    """Share of the images whose true class is among the top five. With five classes or fewer it is always 1."""
    confusion: np.ndarray
    """(k, k) int64, number of images; rows are true classes, columns predicted ones."""
    precision: np.ndarray
    """(k,); NaN for a class that was never predicted."""
    recall: np.ndarray
    """(k,); NaN for a class without images."""

    def values(self, names: Mapping[int, str] = MappingProxyType({})) -> dict[str, float]:
        """Returns all metrics by name; mean recall is called balanced_accuracy.

        Args:
          names: class index → name; a class without a name is named by its index.
        """
        present = self.recall[~np.isnan(self.recall)]
        found = {
            "accuracy": self.accuracy,
            "top5": self.top5,
            "balanced_accuracy": float(present.mean()) if present.size else float("nan"),
        }
        for title, column in (("precision", self.precision), ("recall", self.recall)):
            found |= {f"{title}/{names.get(index, index)}": float(value) for index, value in enumerate(column)}
        return found


def classification_metrics(truth: np.ndarray, logits: np.ndarray) -> ClassificationMetrics:
    """Returns the metrics of predictions. Of equal logits the lower class index wins.

    Args:
      truth: (n,) class indices.
      logits: (n, k), or probabilities.

    Raises:
      ValueError: the numbers of rows differ, an index is out of range, or a logit is NaN.
    """
    truth, logits = np.asarray(truth), np.asarray(logits)
    if logits.ndim != 2 or truth.shape != logits.shape[:1]:
        raise ValueError(f"truth must be (n,) and logits (n, k). Received {truth.shape} and {logits.shape}.")
    count, classes = logits.shape
    if count and not 0 <= truth.min() <= truth.max() < classes:
        raise ValueError(f"truth must be from 0 to {classes - 1}. Received {truth.min()} to {truth.max()}.")
    if np.isnan(logits).any():
        raise ValueError("logits must be numbers. Some are NaN: the network diverged.")
    order = np.argsort(-logits, axis=1, kind="stable")
    confusion = confusion_matrix(truth, order[:, 0] if count else truth, classes)
    hits = np.diag(confusion).astype(np.float64)
    found, true = confusion.sum(0), confusion.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = hits / np.where(found, found, np.nan), hits / np.where(true, true, np.nan)
    return ClassificationMetrics(
        accuracy=float(hits.sum() / count) if count else float("nan"),
        top5=float((order[:, :5] == truth[:, None]).any(1).mean()) if count else float("nan"),
        confusion=confusion,
        precision=precision,
        recall=recall,
    )
