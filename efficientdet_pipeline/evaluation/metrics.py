"""Metrics of an evaluation for any task, and their computation for detections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from efficientdet_pipeline.evaluation.coco import METRIC_NAMES, class_names, coco_summary
from efficientdet_pipeline.evaluation.engines import coco_arrays
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.evaluation.voc import voc_precision
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.options.evaluation import Engine

PER_CLASS = "per_class"
INTERVAL = "_interval"
"""Suffix of the key of a metric's confidence interval."""
VOC_NAMES = ("VOC07_AP50", "VOC12_AP50")


@dataclass(frozen=True)
class Metrics:
    """Metrics by name, and the primary one, by which checkpoints are compared."""

    values: Mapping[str, float]
    """0 to 1, higher is better; -1 where undefined."""
    primary: str
    """Name of the metric for the best checkpoint, patience and curves."""
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """{metric: {class name: value}}."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the primary metric; None if it was not computed."""

    def __post_init__(self) -> None:
        if self.primary not in self.values:
            raise ValueError(f"primary must be one of {', '.join(self.values)}. Received {self.primary!r}.")

    @property
    def primary_value(self) -> float:
        """Returns the metric by which checkpoints are compared."""
        return self.values[self.primary]

    def as_dict(self) -> dict[str, Any]:
        """Returns the content of metrics.json: the metrics, and "per_class" and "per_class_AP50" by class name."""
        by_class = {
            PER_CLASS if name == self.primary else f"{PER_CLASS}_{name}": dict(values)
            for name, values in self.per_class.items()
        }
        interval = {} if self.interval is None else {f"{self.primary}{INTERVAL}": list(self.interval)}
        return {**self.values, **interval, **by_class}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, primary: str = "AP") -> "Metrics":
        """Returns the metrics that `as_dict` wrote; other entries, such as "epoch", are left out."""
        prefix = f"{PER_CLASS}_"
        per_class = {
            primary if name == PER_CLASS else name.removeprefix(prefix): dict(values)
            for name, values in content.items()
            if name == PER_CLASS or name.startswith(prefix)
        }
        values = {name: float(content[name]) for name in (*METRIC_NAMES, *VOC_NAMES) if name in content}
        low_and_high = content.get(f"{primary}{INTERVAL}")
        return cls(values, primary, per_class, None if low_and_high is None else (low_and_high[0], low_and_high[1]))


def detection_metrics(
    truth: Sequence[TruthImage],
    detected: Sequence[ImageDetections],
    label_map: Mapping[int, str],
    *,
    engine: Engine = "auto",
) -> Metrics:
    """Returns COCO's twelve and Pascal VOC's two metrics of detections, over all classes and per class.

    Crowds and difficult objects are handled as in each standard: COCO excludes crowds, VOC both.

    Args:
      truth: all images of the evaluation, each once.
      detected: at most one for each image of `truth`.
      label_map: class id to name. A class without a name is named by its id.
      engine: the engine that computes the COCO metrics.

    Raises:
      DataError: an image occurs twice, or has detections but no ground truth.
    """
    return metrics_of(flatten(truth, detected, label_map), label_map, engine=engine)


def metrics_of(instances: Instances, label_map: Mapping[int, str], *, engine: Engine = "auto") -> Metrics:
    """Returns the metrics of `detection_metrics` from flat arrays."""
    names = class_names(instances.class_ids, label_map)
    coco = coco_summary(coco_arrays(instances, engine), names)
    voc = voc_precision(instances)
    return Metrics(
        values={
            **{name: coco[name] for name in METRIC_NAMES},
            **dict(zip(VOC_NAMES, (voc.mean_2007, voc.mean_2012), strict=True)),
        },
        primary="AP",
        per_class={
            "AP": coco["per_class"],
            "AP50": coco["per_class_AP50"],
            **{
                name: dict(zip(names, values.tolist(), strict=True))
                for name, values in zip(VOC_NAMES, (voc.per_class_2007, voc.per_class_2012), strict=True)
            },
        },
    )
