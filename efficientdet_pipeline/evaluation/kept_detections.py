"""Detections of the best and of the latest evaluation of a training, for reuse at its end."""

from dataclasses import dataclass

from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

Detected = tuple[list[TruthImage], list[ImageDetections]]
"""Ground truth and detections of every evaluated image."""


@dataclass
class KeptDetections:
    """Keeps two evaluations at most, so that memory does not grow with the epochs."""

    latest: Detected | None = None
    """The latest evaluation."""
    _last: tuple[float, Detected] | None = None
    _best: tuple[float, Detected] | None = None
    _best_ap: float = -1.0

    def keep(self, epoch: float, ap: float) -> None:
        """Records the epoch of the latest evaluation, and whether it is the best, by the rule of the checkpoints."""
        if self.latest is None:
            return
        self._last = (epoch, self.latest)
        if ap > self._best_ap or ap == self._best_ap == 0:
            self._best_ap, self._best = ap, self._last

    def of_epoch(self, epoch: float) -> Detected | None:
        """Returns the evaluation of an epoch; None if another process made it, or it is neither best nor latest."""
        return next((each for kept in (self._best, self._last) if kept for of, each in [kept] if of == epoch), None)
