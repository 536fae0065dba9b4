"""The numbers of an evaluation, whatever the task: `Metrics`, and its computation for detections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.coco import METRIC_NAMES, class_names, coco_summary
from efficientdet_pipeline.evaluation.engines import coco_arrays
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.truth import DetectedImage, TruthImage
from efficientdet_pipeline.evaluation.voc import voc_precision
from efficientdet_pipeline.options.evaluation import Engine

PER_CLASS = "per_class"
INTERVAL = "_interval"
"""Ending of the name under which a file has the interval of a number."""
VOC_NAMES = ("VOC07_AP50", "VOC12_AP50")


@dataclass(frozen=True)
class Metrics:
    """Numbers by name, and the one by which checkpoints are compared."""

    values: Mapping[str, float]
    """0 to 1, higher is better; -1 where nothing was there to measure."""
    primary: str
    """Name of the number that best checkpoint, patience and curves follow."""
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """{number: {class name: value}}."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the primary number; None where it was not computed."""

    def __post_init__(self) -> None:
        if self.primary not in self.values:
            raise ValueError(f"primary must be one of {', '.join(self.values)}. Received {self.primary!r}.")

    @property
    def primary_value(self) -> float:
        """Returns the number that checkpoints are compared by."""
        return self.values[self.primary]

    @property
    def is_measured(self) -> bool:
        """Returns whether there was anything to measure."""
        return self.primary_value > UNDEFINED

    def as_dict(self) -> dict[str, Any]:
        """Returns the content of metrics.json: the numbers, and "per_class" and "per_class_AP50" by class name."""
        by_class = {
            PER_CLASS if name == self.primary else f"{PER_CLASS}_{name}": dict(values)
            for name, values in self.per_class.items()
        }
        interval = {} if self.interval is None else {f"{self.primary}{INTERVAL}": list(self.interval)}
        return {**self.values, **interval, **by_class}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, primary: str = "AP") -> "Metrics":
        """Returns what `as_dict` wrote; entries that are no numbers of an evaluation, such as "epoch", stay out."""
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
    detected: Sequence[DetectedImage],
    label_map: Mapping[int, str],
    *,
    engine: Engine = "auto",
) -> Metrics:
    """Returns COCO's twelve numbers and Pascal VOC's two of detections, over all classes and per class.

    Crowds and objects marked as difficult count as each standard has it: COCO leaves crowds out, VOC both.

    Args:
      truth: all images of the evaluation, each once.
      detected: at most one for each image of `truth`.
      label_map: class id to name. A class that is only in the data goes by its id.
      engine: what computes COCO's numbers.

    Raises:
      DataError: an image comes twice, or was detected in but is not in the truth.
    """
    return metrics_of(flatten(truth, detected, label_map), label_map, engine=engine)


def metrics_of(instances: Instances, label_map: Mapping[int, str], *, engine: Engine = "auto") -> Metrics:
    """Returns the numbers of `detection_metrics` from both sides as flat arrays."""
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
