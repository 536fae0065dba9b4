"""HTML page that compares runs: metrics, differences with intervals, curves, images with different results."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.bootstrap import Interval, Intervals, difference_intervals
from efficientdet_pipeline.evaluation.curves import mean_f1
from efficientdet_pipeline.evaluation.error_split import KINDS
from efficientdet_pipeline.report.contents import Chart, GalleryImage, Series
from efficientdet_pipeline.report.gallery import (
    MAX_BYTES,
    PER_GROUP,
    ReadImage,
    found_objects,
    image_boxes,
    small_jpeg,
)
from efficientdet_pipeline.report.gallery_section import gallery_section
from efficientdet_pipeline.report.markup import NO_VALUE, number, paragraph, section, table, tag, text
from efficientdet_pipeline.report.page import FILE_NAME, html_document
from efficientdet_pipeline.report.svg_charts import line_chart
from tfrmod import fileio

_NUMBERS = (
    ("AP", "AP, IoU 0.5 to 0.95"),
    ("AP50", "AP at IoU 0.5"),
    ("AP75", "AP at IoU 0.75"),
    ("APs", "AP, small objects"),
    ("APm", "AP, medium objects"),
    ("APl", "AP, large objects"),
    ("ARmax100", "Recall, 100 detections"),
    ("VOC12_AP50", "Pascal VOC 2012"),
)
_GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison."""

    name: str
    analysis: Analysis
    facts: Mapping[str, str]
    """{label: value}, for example the options that differ."""
    charts: Sequence[Chart] = ()
    """Training curves; those with the same title share a chart."""


def write_comparison(folder: Path, runs: Sequence[ComparedRun], *, gallery: Sequence[GalleryImage] = ()) -> Path:
    """Writes index.html into a folder, atomically, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    fileio.write_file(path, comparison_page(runs, gallery=gallery))
    return path


def comparison_page(runs: Sequence[ComparedRun], *, gallery: Sequence[GalleryImage] = ()) -> str:
    """Returns the HTML page; differences are relative to the first run.

    Args:
      runs: two or more.
      gallery: images with different results, from `disagreements`.

    Raises:
      ValueError: there are fewer than two.
    """
    if len(runs) < 2:
        raise ValueError(f"A comparison needs two runs or more. Received {len(runs)}.")
    differences = [_differences(runs[0].analysis, run.analysis) for run in runs[1:]]
    threshold = runs[0].analysis.threshold
    parts = [
        ("facts", "The runs", _facts_section(runs)),
        ("numbers", "Numbers", _numbers_section(runs, differences)),
        ("classes", "Classes", _classes_section(runs, differences)),
        ("errors", "Errors", _errors_section(runs)),
        ("curves", "Curves", _curves_section(runs)),
        ("gallery", "Gallery", gallery_section(gallery, threshold)),
    ]
    warnings = [
        f"{run.name} and {runs[0].name} are evaluated on different images: their difference has no interval, and may "
        "be "
        "due to the images alone."
        for run, difference in zip(runs[1:], differences, strict=True)
        if difference is None
    ]
    top = "".join(tag("p", text(warning), class_="warning") for warning in warnings)
    title = "Comparison of " + ", ".join(run.name for run in runs)
    return html_document(title, f"Differences are relative to {runs[0].name}.", parts, top=top)


def disagreements(
    runs: Sequence[ComparedRun],
    read_image: ReadImage,
    *,
    file_names: Mapping[str, str] | None = None,
    count: int = PER_GROUP,
    max_bytes: int = MAX_BYTES,
) -> list[GalleryImage]:
    """Returns the images in which one run finds most objects that another one misses, one entry per run.

    Args:
      runs: two or more; images that the first one lacks are ignored.
      read_image: returns the pixels of an image.
      file_names: by source id.
      count: number of images.
      max_bytes: total size of the JPEG files.
    """
    first = runs[0].analysis.instances
    same = [run for run in runs if run.analysis.instances.source_ids == first.source_ids]
    same = [run for run in same if len(run.analysis.instances.truth) == len(first.truth)]
    found = np.stack([found_objects(run.analysis) for run in same])
    is_disputed = found.any(axis=0) & ~found.all(axis=0)
    disputed = np.bincount(first.truth.images[is_disputed], minlength=len(first.source_ids))
    order = np.argsort(-disputed, kind="stable")
    images = []
    for row in order[disputed[order] > 0][:count].tolist():
        source_id = first.source_ids[row]
        pixels = read_image(source_id)
        if pixels is None:
            continue
        jpeg = small_jpeg(pixels, max_bytes // (count * len(same)))
        for run in same:
            images.append(
                GalleryImage(
                    name=f"{(file_names or {}).get(source_id, source_id)} · {run.name}",
                    jpeg=jpeg,
                    height=pixels.shape[0],
                    width=pixels.shape[1],
                    boxes=image_boxes(run.analysis, row),
                    groups=(f"detections of {run.name}",),
                )
            )
    return images


def _differences(baseline: Analysis, other: Analysis) -> Intervals | None:
    if baseline.instances.source_ids != other.instances.source_ids:
        return None
    return difference_intervals((baseline.instances, baseline.matches), (other.instances, other.matches))


def _facts_section(runs: Sequence[ComparedRun]) -> str:
    labels = list(dict.fromkeys(label for run in runs for label in run.facts))
    rows = [(text(label), *(text(run.facts.get(label, NO_VALUE)) for run in runs)) for label in labels]
    if not rows:
        return ""
    return section("facts", "The runs", table(["Setting", *(run.name for run in runs)], rows, caption="The runs"))


def _numbers_section(runs: Sequence[ComparedRun], differences: Sequence[Intervals | None]) -> str:
    rows = []
    for key, label in _NUMBERS:
        values = [run.analysis.metrics.values.get(key, UNDEFINED) for run in runs]
        each = [None if d is None else d.overall.get(key) for d in differences]
        rows.append((text(label), *_values(values), *_difference_cells(values, each)))
    return section(
        "numbers",
        "Numbers",
        paragraph(
            "The best value of each row is bold. Differences have a 95% interval: if it contains 0, the difference "
            "may be "
            "due to chance."
        ),
        table(_head("Metric", runs), rows, caption="Metrics of the runs", numeric=range(1, 2 * len(runs))),
    )


def _classes_section(runs: Sequence[ComparedRun], differences: Sequence[Intervals | None]) -> str:
    # Classes are joined by name, because the same id may mean another class in another run.
    names = list(dict.fromkeys(name for run in runs for name in run.analysis.names.values()))
    ids = {name: class_id for class_id, name in runs[0].analysis.names.items()}
    is_same = [dict(run.analysis.names) == dict(runs[0].analysis.names) for run in runs[1:]]
    rows = []
    for name in names:
        values = [run.analysis.metrics.per_class["AP"].get(name, UNDEFINED) for run in runs]
        each = [
            d.per_class.get(ids[name], {}).get("AP") if d is not None and same and name in ids else None
            for d, same in zip(differences, is_same, strict=True)
        ]
        rows.append((text(name), *_values(values), *_difference_cells(values, each)))
    return section(
        "classes",
        "AP by class",
        table(_head("Class", runs), rows, caption="AP by class", numeric=range(1, 2 * len(runs)), is_sortable=True),
    )


def _errors_section(runs: Sequence[ComparedRun]) -> str:
    rows = [(text(kind.value), *(f"{run.analysis.errors.costs[kind]:.2f}" for run in runs)) for kind in KINDS]
    return section(
        "errors",
        "Cost of errors",
        paragraph("Gain in points of AP50 if all errors of one type were corrected (TIDE)."),
        table(
            ["Error type", *(run.name for run in runs)],
            rows,
            caption="Errors by type",
            numeric=range(1, len(runs) + 1),
        ),
    )


def _curves_section(runs: Sequence[ComparedRun]) -> str:
    charts: dict[str, Chart] = {}
    for run in runs:
        for chart in run.charts:
            named = [Series(f"{run.name}: {each.name}", each.x, each.y) for each in chart.series]
            earlier = charts.get(chart.title)
            series = [*(earlier.series if earlier else ()), *named]
            charts[chart.title] = Chart(chart.title, chart.x_label, chart.y_label, series)
    f1 = [Series(run.name, _GRID.tolist(), mean_f1(list(run.analysis.curves.values()), _GRID).tolist()) for run in runs]
    drawn = line_chart(Chart("F1 over score, all classes", "score threshold", "F1", f1), x_range=(0, 1), y_range=(0, 1))
    drawn += "".join(line_chart(chart) for chart in charts.values())
    return section("curves", "Curves", tag("div", drawn, class_="charts"))


def _head(first: str, runs: Sequence[ComparedRun]) -> list[str]:
    return [first, *(run.name for run in runs), *(f"{run.name}: difference" for run in runs[1:])]


def _values(values: Sequence[float]) -> list[str]:
    best = max(values)
    has_best = any(UNDEFINED < value < best for value in values)
    return [tag("strong", number(value)) if has_best and value == best else number(value) for value in values]


def _difference_cells(values: Sequence[float], intervals: Sequence[Interval | None]) -> list[str]:
    cells = []
    for value, interval in zip(values[1:], intervals, strict=True):
        if UNDEFINED in (value, values[0]):
            cells.append(NO_VALUE)
            continue
        change = value - values[0]
        said = f"{change:+.3f}"
        if interval is None or not all(math.isfinite(each) for each in interval):
            cells.append(text(said))
            continue
        low, high = interval
        word = "better" if low > 0 else "worse" if high < 0 else None
        mark = f" ({word})" if word else ""
        cells.append(
            tag("span", text(f"{said}{mark}"), class_=word) + tag("small", text(f" {low:+.3f} to {high:+.3f}"))
        )
    return cells
