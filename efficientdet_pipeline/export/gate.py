"""The accuracy gate of an export: every artifact's accuracy, beside the checkpoint's, within a limit."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from absl import logging

from efficientdet_pipeline.errors import AccuracyError
from tfrmod import fileio

MAX_DROP = 0.005
MAX_DROP_QUANTIZED = 0.01
REPORT = "report.json"
_NUM_LAYERS = 5

P = TypeVar("P")
"""A predictor: of boxes, of class maps, or of classes."""
Evaluate = Callable[[P], Mapping[str, Any]]
"""From a predictor to its metrics: that of the report by its name, and "per_class" by class name, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Artifact(Generic[P]):
    """One file of an export in its own runtime."""

    name: str
    """Name of its format."""
    path: Path
    predictor: P
    """Feeds it as its runtime is fed."""
    is_quantized: bool = False
    suppresses_like: str = ""
    """For an artifact with non-maximum suppression: name of the artifact of the same network without it. The loss
    against that one is reported separately, and the limit applies to that one."""
    decibels: Mapping[str, float] = field(default_factory=dict)
    """Signal-to-noise ratios of logits and deltas, from its writer."""
    max_drop: float | None = None
    """What it may lose, where that is not the limit of its precision."""
    on_canvas: P | None = None
    """Where it takes images of one size alone: the checkpoint, fed with such images. What that size costs is reported
    apart."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of one artifact."""

    name: str
    bytes: int
    score: float
    per_class: dict[str, float]
    drop: float
    """Score of the checkpoint less its own."""
    max_drop: float
    canvas_drop: float | None
    """Lost by the one size of its images; None where it takes any."""
    suppression_drop: float | None
    """AP lost by non-maximum suppression inside the artifact; None if it has none."""
    milliseconds: float | None
    """Median latency per image, end to end; None if not measured."""
    decibels: dict[str, float]

    @property
    def is_within(self) -> bool:
        """Whether the network itself keeps its accuracy."""
        return self.drop - (self.suppression_drop or 0.0) - (self.canvas_drop or 0.0) <= self.max_drop + 1e-9


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """Measurements of the checkpoint and all artifacts."""

    score: float
    per_class: dict[str, float]
    milliseconds: float | None
    artifacts: tuple[Measured, ...]
    num_images: int
    metric: str = "AP"
    """That every score is."""

    def to_json(self) -> dict[str, Any]:
        """Returns the report as a JSON object."""
        artifacts = [asdict(each) | {"is_within": each.is_within} for each in self.artifacts]
        content = asdict(self) | {"artifacts": artifacts}
        if self.metric == "AP":  # The key that reports of detectors have had from the beginning.
            content["ap"] = self.score
            for each in artifacts:
                each["ap"] = each["score"]
        return content

    def write(self, path: Path) -> None:
        """Writes JSON, atomically."""
        fileio.write_file(path, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")

    def table(self) -> str:
        """Returns the report as text, one line per artifact."""
        aside = "suppression" if self.metric == "AP" else "canvas"
        rows = [["artifact", self.metric, "drop", "limit", aside, "MB", "ms"]]
        rows.append(["checkpoint", f"{self.score:.4f}", "", "", "", "", _number(self.milliseconds)])
        for each in self.artifacts:
            lost = each.suppression_drop if self.metric == "AP" else each.canvas_drop
            apart = "" if lost is None else signed(lost)
            # A limit of 1 is none: the row tells what another way of feeding the same artifact costs.
            limit = "" if each.max_drop >= 1.0 else f"{each.max_drop:.4f}"
            verdict = limit + ("" if each.is_within else " exceeded")
            sizes = [f"{each.bytes / 1e6:.1f}", _number(each.milliseconds)]
            rows.append([each.name, f"{each.score:.4f}", signed(each.drop), verdict, apart, *sizes])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join(lines)


def keep_measured(report: GateReport, folder: Path, files: Mapping[str, Sequence[str]]) -> set[str]:
    """Writes the report, deletes artifacts that lost too much accuracy, and returns the names of the others.

    Args:
      report: of the artifacts.
      folder: of the artifacts.
      files: name of each artifact → names of its files.
    """
    report.write(folder / REPORT)
    lost = {each.name for each in report.artifacts if not each.is_within}
    for name in lost & files.keys():
        for file in files[name]:
            fileio.remove(folder / file)
    return files.keys() - lost


def measure_artifacts(
    checkpoint: P,
    artifacts: Sequence[Artifact[P]],
    evaluate: Evaluate[P],
    *,
    num_images: int,
    metric: str = "AP",
    max_drop: float = MAX_DROP,
    max_drop_quantized: float = MAX_DROP_QUANTIZED,
    milliseconds: Mapping[str, float] | None = None,
) -> GateReport:
    """Returns the accuracy of each artifact and of the checkpoint on the same images.

    Args:
      checkpoint: the trained network.
      evaluate: on the validation images, or a stratified part of them.
      num_images: that `evaluate` looks at, for the report.
      metric: that is compared.
      max_drop: what an artifact in floating point may lose.
      max_drop_quantized: likewise, of int8.
      milliseconds: latency by name of artifact, and of "checkpoint".
    """
    latency = milliseconds or {}
    reference = evaluate(checkpoint)
    metrics = {each.name: evaluate(each.predictor) for each in artifacts}
    best = float(reference[metric])
    if best <= MAX_DROP:
        logging.warning(
            "No artifact can lose more than the limit, since the checkpoint has %s %.4f on %d images: train longer, or "
            "name images like those of the training by --val_file_pattern.",
            metric,
            best,
            num_images,
        )
    measured = []
    for each in artifacts:
        own = metrics[each.name]
        raw = metrics.get(each.suppresses_like)
        canvas = None if each.on_canvas is None else evaluate(each.on_canvas)
        measured.append(
            Measured(
                name=each.name,
                bytes=size_of(each.path),
                score=float(own[metric]),
                per_class=_plain(own["per_class"]),
                drop=best - float(own[metric]),
                max_drop=_limit(each, max_drop, max_drop_quantized),
                canvas_drop=None if canvas is None else best - float(canvas[metric]),
                suppression_drop=None if raw is None else float(raw[metric]) - float(own[metric]),
                milliseconds=latency.get(each.name),
                decibels=_plain(each.decibels),
            )
        )
    return GateReport(
        score=best,
        per_class=_plain(reference["per_class"]),
        milliseconds=latency.get("checkpoint"),
        artifacts=tuple(measured),
        num_images=num_images,
        metric=metric,
    )


def _limit(artifact: Artifact[P], max_drop: float, max_drop_quantized: float) -> float:
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
        f"{each.name} has {report.metric} {each.score:.4f}, {each.drop:.4f} below the checkpoint's {report.score:.4f}"
        + (f" ({each.suppression_drop:.4f} of that by its non-maximum suppression)" if each.suppression_drop else "")
        + (f" ({each.canvas_drop:.4f} of that by the size of its images)" if each.canvas_drop else "")
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
        f"An exported artifact must keep the {report.metric} of the checkpoint within the limit. On "
        f"{report.num_images} images, {'; '.join(sentences)}; it is deleted.{''.join(layers)} For int8, try "
        + ("--quant_debug, which keeps layers in float, or " if report.metric == "AP" else "")
        + "a larger --calibration_images; --max_ap_drop sets the limit."
    )


def size_of(path: Path) -> int:
    """Returns the size in bytes of a file and its weights file, or of all files of a folder."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    beside = path.with_suffix(".bin")
    return path.stat().st_size + (beside.stat().st_size if path.suffix == ".xml" and beside.is_file() else 0)


def _plain(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}


def signed(value: float) -> str:
    """Returns a difference as text, without a negative zero."""
    return f"{round(value, 4) + 0.0:+.4f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
