"""Contents of a report as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from efficientdet_pipeline.compression.summary import CompressionSummary
from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation

BoxState = Literal["found", "missed", "crowd", "right", "wrong"]
"""State of an object (found, missed, crowd) or of a detection (right, wrong)."""
Severity = Literal["error", "warning", "note"]
EVALUATED = "What is evaluated"
"""Title of the facts of a page that has an evaluation without a run."""


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    """Non-finite values are gaps."""


@dataclass(frozen=True)
class Chart:
    """Lines with a common x axis, for example losses over epochs."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


@dataclass(frozen=True)
class DrawnBox:
    """A box on an image of the gallery."""

    box: tuple[float, float, float, float]
    """y0 x0 y1 x1 in pixels of the source image."""
    class_name: str
    state: BoxState
    score: float | None = None
    """Score of a detection; None for an object."""
    kind: str = ""
    """Error type of a wrong detection or a missed object: see `ErrorKind`."""


@dataclass(frozen=True)
class GalleryImage:
    """An image with its ground truth and detections."""

    name: str
    jpeg: bytes
    height: int
    """Size of the source image in pixels; the JPEG may be smaller."""
    width: int
    boxes: Sequence[DrawnBox]
    groups: Sequence[str]
    """Groups of the gallery that it belongs to, for example "worst misses"."""


@dataclass(frozen=True)
class Picture:
    """An encoded image, for example the latest predictions of a training."""

    title: str
    content: bytes
    """PNG or JPEG."""


@dataclass(frozen=True)
class LabelErrorRow:
    """One box that is likely labelled wrongly."""

    kind: str
    file: str
    description: str
    rank: float


@dataclass(frozen=True)
class Finding:
    """An issue found by a check of the data."""

    severity: Severity
    title: str
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class ExportRow:
    """An exported model and its metrics."""

    name: str
    file: str
    num_bytes: int
    check: str
    """Result of the comparison with the trained model, as text; empty if not compared."""
    is_ok: bool = True
    ap: float | None = None
    """AP of the exported file."""
    milliseconds: float | None = None
    """Median latency per image of the same file, on the machine named in the facts."""
    by_class: Mapping[str, float] = field(default_factory=dict)
    """`ap` of each class."""


@dataclass(frozen=True)
class Command:
    """A command line that repeats a step of the run."""

    purpose: str
    line: str


@dataclass(frozen=True)
class ReportContents:
    """Contents of a report; empty parts are left out of the page."""

    title: str
    subtitle: str = ""
    facts: Sequence[tuple[str, str]] = ()
    """(label, value) pairs that describe the training, or the evaluation alone."""
    facts_title: str = "Training setup"
    charts: Sequence[Chart] = ()
    """Training and validation curves."""
    analysis: Analysis | None = None
    by_class: ClassEvaluation | None = None
    """Of a segmentation or classification, in place of `analysis`."""
    gallery: Sequence[GalleryImage] = ()
    pictures: Sequence[Picture] = ()
    label_errors: Sequence[LabelErrorRow] = ()
    """The worst first."""
    num_label_errors: int = 0
    """Total, including those not in `label_errors`."""
    findings: Sequence[Finding] = ()
    exports: Sequence[ExportRow] = ()
    compression: CompressionSummary | None = None
    """Of the kernels, where the training compressed them."""
    exports_metric: str = "AP"
    """That `ExportRow.ap` is."""
    commands: Sequence[Command] = ()
    warnings: Sequence[str] = ()
    """Warnings about the evaluation, for example about its input."""
    links: Mapping[str, str] = field(default_factory=dict)
    """{text: file beside the page}."""

    def joined(self, evaluation: "ReportContents") -> "ReportContents":
        """Returns this page with the evaluation of another one."""
        return replace(
            self,
            facts=[*self.facts, *evaluation.facts],
            analysis=evaluation.analysis,
            by_class=evaluation.by_class,
            gallery=evaluation.gallery,
            label_errors=evaluation.label_errors,
            num_label_errors=evaluation.num_label_errors,
            warnings=[*self.warnings, *evaluation.warnings],
        )
