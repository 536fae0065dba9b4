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
        standing = cls(marker["best_ap"], marker["best_epoch"], marker["evaluations_since"])
        if standing.best_ap is not None and kept.get("AP", -2.0) < standing.best_ap:
            standing.best_ap, standing.best_epoch = kept.get("AP"), kept.get("epoch")
        return standing

    def take(self, ap: float, *, epoch: float) -> bool:
        """Takes in an evaluation and returns whether it is the best."""
        is_best = self.best_ap is None or ap > self.best_ap
        if is_best:
            self.best_ap, self.best_epoch, self.evaluations_since = ap, epoch, 0
        else:
            self.evaluations_since += 1
        return is_best

    def as_facts(self) -> dict[str, Any]:
        """Returns what a checkpoint says of it."""
        return dict(vars(self))
