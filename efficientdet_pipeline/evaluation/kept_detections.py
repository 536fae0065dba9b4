"""Detections of a training's evaluations that its end needs again: those of the best one and of the latest."""

from dataclasses import dataclass

from efficientdet_pipeline.evaluation.truth import DetectedImage, TruthImage

Detected = tuple[list[TruthImage], list[DetectedImage]]
"""What is there and what was found, of every evaluated image."""


@dataclass
class KeptDetections:
    """Two evaluations at most, so that memory does not grow with the epochs."""

    latest: Detected | None = None
    """Of the evaluation that was made last."""
    _last: tuple[float, Detected] | None = None
    _best: tuple[float, Detected] | None = None
    _best_ap: float = -1.0

    def keep(self, epoch: float, ap: float) -> None:
        """Notes that the latest evaluation is that of an epoch, and whether it is the best, as checkpoints are."""
        if self.latest is None:
            return
        self._last = (epoch, self.latest)
        if ap > self._best_ap or ap == self._best_ap == 0:
            self._best_ap, self._best = ap, self._last

    def of_epoch(self, epoch: float) -> Detected | None:
        """Returns the evaluation of an epoch; None where another process made it, or it is neither best nor last."""
        return next((each for kept in (self._best, self._last) if kept for of, each in [kept] if of == epoch), None)
