"""How a run stands: the best evaluation so far, and how many came after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efficientdet_pipeline.training import checkpoints


@dataclass
class Standing:
    """The best so far."""

    best_ap: float | None = None
    best_epoch: float | None = None
    evaluations_since: int = 0
    """Evaluations after the best one: what patience counts."""

    @classmethod
    def of(cls, marker: Mapping[str, Any], best: Path | None) -> "Standing":
        """Returns how things stood when a checkpoint was written.

        Args:
          marker: what the checkpoint says of itself.
          best: the best checkpoint as it is now. It may be of a later time, and
            comes again then; where it was lost, the next best takes its place.
        """
        kept = checkpoints.read_marker(best) if best is not None else {}
        if "best_ap" not in marker:
            return cls(kept.get("AP"), kept.get("epoch"))
        if (marker["best_ap"] or 0) < 0:  # Earlier versions took what could not be measured for the best.
            return cls()
        standing = cls(marker["best_ap"], marker["best_epoch"], marker["evaluations_since"])
        if standing.best_ap is not None and kept.get("AP", -2.0) < standing.best_ap:
            standing.best_ap, standing.best_epoch = kept.get("AP"), kept.get("epoch")
        return standing

    def take(self, ap: float, *, epoch: float) -> bool:
        """Takes in an evaluation and returns whether it is the best.

        An AP that could not be measured (COCO's -1) is neither the best nor
        counted by patience. Among equal APs the earlier epoch stays the best, as
        with Keras's ModelCheckpoint; where all are 0, which tells nothing of the
        weights, the later one is taken, which has learnt for longer. Neither is
        progress that patience waits for.
        """
        if not ap >= 0:
            return False
        is_better = self.best_ap is None or ap > self.best_ap
        self.evaluations_since = 0 if is_better else self.evaluations_since + 1
        is_best = is_better or ap == self.best_ap == 0
        if is_best:
            self.best_ap, self.best_epoch = ap, epoch
        return is_best

    def as_facts(self) -> dict[str, Any]:
        """Returns what a checkpoint says of it."""
        return dict(vars(self))
