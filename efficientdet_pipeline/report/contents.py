"""What a report shows, as plain data; whoever has a run fills it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from efficientdet_pipeline.compression.summary import CompressionSummary
from efficientdet_pipeline.evaluation.analysis import Analysis

BoxState = Literal["found", "missed", "crowd", "right", "wrong"]
"""Of an object: found, missed, or a crowd; of a detection: right or wrong."""
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    """Values that are not finite leave a gap."""


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis, for example losses over epochs."""

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
    """Of a detection."""
    kind: str = ""
    """Of a wrong detection or a missed object: see `ErrorKind`."""


@dataclass(frozen=True)
class GalleryImage:
    """An image with what is there and what was detected."""

    name: str
    jpeg: bytes
    height: int
    """Of the source image in pixels; the JPEG may be smaller."""
    width: int
    boxes: Sequence[DrawnBox]
    groups: Sequence[str]
    """Why it is shown, for example "worst misses"."""


@dataclass(frozen=True)
class Picture:
    """A finished picture, for example the latest predictions of a training."""

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
    """What a check of the data found."""

    severity: Severity
    title: str
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class ExportRow:
    """An exported model and what was measured of it."""

    name: str
    file: str
    num_bytes: int
    check: str
    """The result of comparing it with the trained model, in words; empty where none was made."""
    is_ok: bool = True
    ap: float | None = None
    """Measured on the exported file."""
    milliseconds: float | None = None
    """Median latency of one image on the machine named in the facts, from the same file."""


@dataclass(frozen=True)
class Command:
    """A command line that repeats a part of the run."""

    purpose: str
    line: str


@dataclass(frozen=True)
class ReportContents:
    """A report; parts that are empty are left out of the page."""

    title: str
    subtitle: str = ""
    facts: Sequence[tuple[str, str]] = ()
    """(label, value): what was trained on what."""
    charts: Sequence[Chart] = ()
    """Training and validation curves."""
    analysis: Analysis | None = None
    gallery: Sequence[GalleryImage] = ()
    pictures: Sequence[Picture] = ()
    label_errors: Sequence[LabelErrorRow] = ()
    """The worst first."""
    num_label_errors: int = 0
    """Of all, also those that are not in `label_errors`."""
    findings: Sequence[Finding] = ()
    exports: Sequence[ExportRow] = ()
    compression: CompressionSummary | None = None
    """Of the kernels, where the training compressed them."""
    commands: Sequence[Command] = ()
    warnings: Sequence[str] = ()
    """About the evaluation itself, for example of its input."""
    links: Mapping[str, str] = field(default_factory=dict)
    """{text: file beside the page}."""

    def joined(self, evaluation: "ReportContents") -> "ReportContents":
        """Returns this page with what another one shows of an evaluation."""
        return replace(
            self,
            facts=[*self.facts, *evaluation.facts],
            analysis=evaluation.analysis,
            gallery=evaluation.gallery,
            label_errors=evaluation.label_errors,
            num_label_errors=evaluation.num_label_errors,
            warnings=[*self.warnings, *evaluation.warnings],
        )
