"""Accuracy gate of an export: the loss of AP of every artifact against the checkpoint, with a limit."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from efficientdet_pipeline.errors import AccuracyError
from efficientdet_pipeline.inference.predictor import Predictor
from tfrmod import fileio

MAX_DROP = 0.005
MAX_DROP_QUANTIZED = 0.01
REPORT = "report.json"
_NUM_LAYERS = 5

Evaluate = Callable[[Predictor], Mapping[str, Any]]
"""From a predictor to its metrics: "AP", and "per_class" by class name, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One exported file in its own runtime."""

    name: str
    """Name of its format."""
    path: Path
    predictor: Predictor
    """Runs it with the inputs that its runtime uses."""
    is_quantized: bool = False
    suppresses_like: str = ""
    """For an artifact with non-maximum suppression: name of the artifact of the same network without it. The loss
    against that one is reported separately, and the limit applies to that one."""
    decibels: Mapping[str, float] = field(default_factory=dict)
    """Signal-to-noise ratios of logits and deltas, from its writer."""
    max_drop: float | None = None
    """Maximum loss of AP, if it differs from that of the precision."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of one artifact."""

    name: str
    bytes: int
    ap: float
    per_class: dict[str, float]
    drop: float
    """AP of the checkpoint minus AP of the artifact."""
    max_drop: float
    suppression_drop: float | None
    """AP lost by non-maximum suppression inside the artifact; None if it has none."""
    milliseconds: float | None
    """Median latency per image, end to end; None if not measured."""
    decibels: dict[str, float]

    @property
    def is_within(self) -> bool:
        """Whether the loss of the network is within the limit."""
        return self.drop - (self.suppression_drop or 0.0) <= self.max_drop + 1e-9


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """Measurements of the checkpoint and all artifacts."""

    ap: float
    per_class: dict[str, float]
    milliseconds: float | None
    artifacts: tuple[Measured, ...]
    num_images: int

    def to_json(self) -> dict[str, Any]:
        """Returns the report as a JSON object."""
        return asdict(self) | {
            "artifacts": [asdict(each) | {"is_within": each.is_within} for each in self.artifacts],
        }

    def write(self, path: Path) -> None:
        """Writes JSON, atomically."""
        fileio.write_file(path, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")

    def table(self) -> str:
        """Returns the report as text, one line per artifact."""
        rows = [["artifact", "AP", "drop", "limit", "suppression", "MB", "ms"]]
        rows.append(["checkpoint", f"{self.ap:.4f}", "", "", "", "", _number(self.milliseconds)])
        for each in self.artifacts:
            suppression = "" if each.suppression_drop is None else f"{each.suppression_drop:+.4f}"
            verdict = f"{each.max_drop:.4f}" + ("" if each.is_within else " exceeded")
            sizes = [f"{each.bytes / 1e6:.1f}", _number(each.milliseconds)]
            rows.append([each.name, f"{each.ap:.4f}", f"{each.drop:+.4f}", verdict, suppression, *sizes])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(lines)


def measure_artifacts(
    checkpoint: Predictor,
    artifacts: Sequence[Artifact],
    evaluate: Evaluate,
    *,
    num_images: int,
    max_drop: float = MAX_DROP,
    max_drop_quantized: float = MAX_DROP_QUANTIZED,
    milliseconds: Mapping[str, float] | None = None,
) -> GateReport:
    """Returns the accuracy of each artifact and of the checkpoint on the same images.

    Args:
      checkpoint: the trained network.
      evaluate: evaluates a predictor on the validation images, or a stratified subset.
      num_images: number of these images, for the report.
      max_drop: maximum loss of AP of a floating-point artifact.
      max_drop_quantized: likewise, of an int8 artifact.
      milliseconds: latency by name of artifact, and of "checkpoint".
    """
    latency = milliseconds or {}
    reference = evaluate(checkpoint)
    metrics = {each.name: evaluate(each.predictor) for each in artifacts}
    measured = []
    for each in artifacts:
        own = metrics[each.name]
        raw = metrics.get(each.suppresses_like)
        measured.append(
            Measured(
                name=each.name,
                bytes=size_of(each.path),
                ap=float(own["AP"]),
                per_class=_plain(own["per_class"]),
                drop=float(reference["AP"]) - float(own["AP"]),
                max_drop=_limit(each, max_drop, max_drop_quantized),
                suppression_drop=None if raw is None else float(raw["AP"]) - float(own["AP"]),
                milliseconds=latency.get(each.name),
                decibels=_plain(each.decibels),
            )
        )
    return GateReport(
        ap=float(reference["AP"]),
        per_class=_plain(reference["per_class"]),
        milliseconds=latency.get("checkpoint"),
        artifacts=tuple(measured),
        num_images=num_images,
    )


def _limit(artifact: Artifact, max_drop: float, max_drop_quantized: float) -> float:
    if artifact.max_drop is not None:
        return artifact.max_drop
    return max_drop_quantized if artifact.is_quantized else max_drop


def check_accuracy(
    report: GateReport, *, noisy_layers: Mapping[str, Sequence[tuple[str, float]]] | None = None
) -> None:
    """Checks that no artifact lost too much accuracy.

    Args:
      noisy_layers: by artifact's name, layers and their signal to noise in
        decibels, lowest first, as `quantization_search.layer_ratios` gives them.

    Raises:
      AccuracyError: some lost too much; the message lists them all.
    """
    failed = [each for each in report.artifacts if not each.is_within]
    if not failed:
        return
    sentences = [
        f"{each.name} has AP {each.ap:.4f}, {each.drop:.4f} below the checkpoint's {report.ap:.4f}"
        + (f" ({each.suppression_drop:.4f} of that by its non-maximum suppression)" if each.suppression_drop else "")
        + f" (limit {each.max_drop:g})"
        for each in failed
    ]
    layers = []
    for each in failed:
        lowest = (noisy_layers or {}).get(each.name, ())[:_NUM_LAYERS]
        if lowest:
            named = ", ".join(f"{name} ({decibels:.0f} dB)" for name, decibels in lowest)
            layers.append(f" Lowest signal-to-noise ratios in {each.name}: {named}.")
    raise AccuracyError(
        f"An exported artifact must keep the AP of the checkpoint within the limit. On {report.num_images} "
        f"images, {'; '.join(sentences)}; it is deleted.{''.join(layers)} For int8, try --quant_debug, which keeps "
        "layers "
        "in float, or a larger --calibration_images; --max_ap_drop sets the limit."
    )


def size_of(path: Path) -> int:
    """Returns the size in bytes of a file and its weights file, or of all files of a folder."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    beside = path.with_suffix(".bin")
    return path.stat().st_size + (beside.stat().st_size if path.suffix == ".xml" and beside.is_file() else 0)


def _plain(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
