"""Model card of an export: purpose, data, accuracy and limitations of the detector.

Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from efficientdet.any_detector import AnyDetectorConfig

from efficientdet_pipeline.export.gate import GateReport, signed

UNSTATED = "Not stated by the author of the export."
_LIMITATIONS = (
    "The detector has learnt from its training images only. Evaluate it on images of the place of use",
    "before relying on it; scores are not probabilities.",
)
_BY_CLASS = {"mIoU": "IoU", "accuracy": "recall"}
"""Metric over all classes → its name for one class, where they differ."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Facts that only the user or the run knows."""

    data: str = ""
    """Source of the images, their number and splits."""
    intended_use: str = ""
    """Intended and unintended uses."""
    license: str = ""
    """License of the weights, which also depends on the data."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Name to value, on images that were not used in training."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Class name to recommended minimum score."""
    start: str = ""
    """Initial weights: random, or which published ones."""


def model_card(
    config: AnyDetectorConfig, label_map: Mapping[int, str], facts: ModelFacts, report: GateReport | None = None
) -> str:
    """Returns the model card as Markdown.

    Args:
      label_map: class id to name.
      report: of the accuracy gate, if artifacts were measured.
    """
    height, width = config.image_size
    names = ", ".join(f"{class_id} {escaped(name)}" for class_id, name in sorted(label_map.items()))
    lines = [f"# {config.name}", "", "## Model", ""]
    lines += [
        f"Object detector, {config.name} with the backbone {config.backbone_name}, for {config.num_classes} classes.",
        f"Images are resized to {width}x{height} px (width x height).",
        "",
        f"Classes: {names or 'without names'}.",
        "",
        *statements(facts),
    ]
    return card_lines(lines, facts, report, _LIMITATIONS)


def statements(facts: ModelFacts) -> list[str]:
    """Returns the lines on initial weights, data, intended use and license."""
    lines = [f"Trained from: {facts.start or UNSTATED}"]
    sections = {"Data": facts.data, "Intended use": facts.intended_use, "License": facts.license}
    for title, text in sections.items():
        lines += ["", f"## {title}", "", text or UNSTATED]
    return lines


def card_lines(head: Sequence[str], facts: ModelFacts, report: GateReport | None, limitations: Sequence[str]) -> str:
    """Returns a card: the given first lines, accuracy, thresholds, and the limitations."""
    lines = [*head, "", "## Accuracy", ""]
    if facts.metrics or report is None:
        lines += _table(("metric", "value"), [(name, f"{value:.4f}") for name, value in facts.metrics.items()])
    if report is not None:
        lines += ["", f"Exported artifacts on {report.num_images} validation images:", ""]
        rows = [("checkpoint", f"{report.score:.4f}", "", "")]
        rows += [
            (each.name, f"{each.score:.4f}", signed(each.drop), f"{each.bytes / 1e6:.1f}") for each in report.artifacts
        ]
        lines += _table(("artifact", report.metric, f"{report.metric} lost", "MB"), rows)
        lines += ["", "By class:", ""]
        lines += _table(
            ("class", _BY_CLASS.get(report.metric, report.metric)),
            [(name, f"{value:.4f}" if value >= 0 else "no examples") for name, value in report.per_class.items()],
        )
    if facts.thresholds:
        lines += ["", "## Recommended thresholds", ""]
        lines += _table(("class", "score"), [(name, f"{value:.3f}") for name, value in facts.thresholds.items()])
    return "\n".join([*lines, "", "## Limitations", "", *limitations]) + "\n"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return [UNSTATED]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(map(escaped, row)) + " |" for row in rows]


def escaped(text: str) -> str:
    """Returns a text escaped for a Markdown table, because class names come from data sets."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
