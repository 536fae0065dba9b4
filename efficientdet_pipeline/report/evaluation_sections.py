"""Sections of an evaluation in the report."""

import math
from collections.abc import Sequence

import numpy as np

from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.bootstrap import Interval
from efficientdet_pipeline.evaluation.curves import mean_f1
from efficientdet_pipeline.evaluation.error_split import DESCRIPTIONS
from efficientdet_pipeline.report.advice import advice
from efficientdet_pipeline.report.contents import Chart, Series
from efficientdet_pipeline.report.markup import NO_VALUE, cards, number, paragraph, section, table, tag, text
from efficientdet_pipeline.report.svg_charts import line_chart, reliability_chart, stacked_bars
from tfrmod.counted import counted

MAX_MATRIX = 25
"""Maximum number of classes in the confusion matrix; the most confused ones are shown."""
MAX_LINES = 60
_GRID = np.linspace(0, 1, 201)
_COCO_ROWS = (
    ("AP", "AP, IoU 0.5 to 0.95", "The main metric of COCO."),
    ("AP50", "AP at IoU 0.5", "Inaccurate boxes count as correct."),
    ("AP75", "AP at IoU 0.75", "Boxes must be accurate."),
    ("APs", "AP, small objects", "Below 32² pixels."),
    ("APm", "AP, medium objects", "32² to 96² pixels."),
    ("APl", "AP, large objects", "Above 96² pixels."),
    ("ARmax1", "Recall, 1 detection", "Only the best detection per image and class."),
    ("ARmax10", "Recall, 10 detections", "The best ten detections per image and class."),
    ("ARmax100", "Recall, 100 detections", "Share of objects found at any score."),
    ("ARs", "Recall, small objects", "Below 32² pixels."),
    ("ARm", "Recall, medium objects", "32² to 96² pixels."),
    ("ARl", "Recall, large objects", "Above 96² pixels."),
    ("VOC07_AP50", "Pascal VOC 2007", "11 points, IoU 0.5; without difficult objects."),
    ("VOC12_AP50", "Pascal VOC 2012", "Area under the curve, IoU 0.5; without difficult objects."),
)


def headline(analysis: Analysis) -> str:
    """Returns the summary cards at the top of the page."""
    values, overall, point = analysis.metrics.values, analysis.intervals.overall, analysis.point
    shown = [
        ("AP (COCO)", number(values["AP"]), _interval(overall["AP"])),
        ("AP50", number(values["AP50"]), _interval(overall["AP50"])),
        ("Recall (AR, 100 detections)", number(values["ARmax100"]), "share found at any score"),
        (
            "Best F1",
            number(point.f1 if point else None),
            f"at score {point.threshold:.2f}: precision {point.precision:.2f}, recall {point.recall:.2f}"
            if point
            else "no correct detection",
        ),
    ]
    return cards(shown)


def evaluation_sections(analysis: Analysis) -> list[tuple[str, str, str]]:
    """Returns (identifier, title in the table of contents, HTML) of every section, in order."""
    return [
        ("next", "What to do", _advice_section(analysis)),
        ("numbers", "Numbers", _numbers_section(analysis)),
        ("classes", "Classes", _classes_section(analysis)),
        ("confusion", "Confusions", _confusion_section(analysis)),
        ("errors", "Errors", _errors_section(analysis)),
        ("curves", "Curves", _curves_section(analysis)),
        ("slices", "Sizes", _slices_section(analysis)),
        ("scores", "Scores", _scores_section(analysis)),
    ]


def _advice_section(analysis: Analysis) -> str:
    listed = advice(analysis)
    if not listed:
        return section("next", "What to do next", paragraph("No error type costs one point of AP50 or more."))
    items = "".join(tag("li", tag("strong", text(each.title)) + paragraph(each.detail)) for each in listed)
    return section("next", "What to do next", tag("ol", items, class_="advice"))


def _numbers_section(analysis: Analysis) -> str:
    values = analysis.metrics.values
    rows = [(text(label), number(values[key]), text(note)) for key, label, note in _COCO_ROWS if key in values]
    count = (
        f"{counted(len(analysis.instances.source_ids), 'image')}, "
        f"{counted(len(analysis.instances.truth), 'annotated object')}, "
        f"{counted(len(analysis.instances.found), 'detection')} of any score."
    )
    return section(
        "numbers",
        "All metrics",
        paragraph(count, "A dash marks undefined metrics."),
        table(["Metric", "Value", "Meaning"], rows, caption="Metrics of COCO and Pascal VOC", numeric=(1,)),
    )


def _classes_section(analysis: Analysis) -> str:
    per_class, instances = analysis.metrics.per_class, analysis.instances
    rows = []
    for class_id, name in analysis.names.items():
        count = int(np.count_nonzero((instances.truth.class_ids == class_id) & ~analysis.matches.truth_ignored))
        interval = analysis.intervals.per_class.get(class_id, {}).get("AP", Interval(UNDEFINED, UNDEFINED))
        best = analysis.thresholds.per_class.get(name)
        ap = per_class["AP"][name]
        bar = tag("span", "", class_="bar", style=f"--v:{max(0.0, ap):.3f}") if ap >= 0 else ""
        rows.append(
            (
                text(name),
                f"{count:,}",
                number(ap) + bar,
                text(_interval(interval)),
                number(per_class["AP50"][name]),
                number(best.precision if best else None, 2),
                number(best.recall if best else None, 2),
                number(best.f1 if best else None, 2),
                number(best.threshold if best else None, 2),
            )
        )
    head = ["Class", "Objects", "AP", "95% interval", "AP50", "Precision", "Recall", "F1", "Best threshold"]
    return section(
        "classes",
        "Classes",
        paragraph(
            "Precision, recall and F1 are at the best threshold of each class (thresholds.yaml). The "
            "intervals are computed by bootstrap over the images."
        ),
        table(head, rows, caption="Metrics by class", numeric=range(1, 9), is_sortable=True),
    )


def _confusion_section(analysis: Analysis) -> str:
    matrix = analysis.confusion
    counts, shares, size = matrix.counts, matrix.shares, len(matrix.class_ids)
    places = list(range(size))
    if size > MAX_MATRIX:
        between = counts[:-1, :-1] * ~np.eye(size, dtype=bool)
        places = sorted(np.argsort(-(between.sum(axis=0) + between.sum(axis=1)), kind="stable")[:MAX_MATRIX].tolist())
    names = [analysis.names[matrix.class_ids[place]] for place in places]
    columns = [*places, size]
    head = tag("th", text("true ↓ / detected →"), scope="col")
    head += "".join(tag("th", tag("span", text(name)), scope="col") for name in [*names, "missed"])
    body = []
    for place, name in zip([*places, size], [*names, "background"], strict=True):
        cells = "".join(
            _cell(int(counts[place, column]), float(shares[place, column]), place == column) for column in columns
        )
        body.append(tag("tr", tag("th", text(name), scope="row") + cells))
    caption = tag("caption", "Objects by true class and detected class", class_="hidden")
    grid = tag("table", caption + tag("thead", tag("tr", head)) + tag("tbody", "".join(body)), class_="matrix")
    pairs = [
        f"{analysis.names[there]} detected as {analysis.names[seen]}: {counted(times, 'time')}"
        for there, seen, times in matrix.most_confused(5)
    ]
    note = f"The {MAX_MATRIX} most confused of {size} classes are shown." if size > MAX_MATRIX else ""
    return section(
        "confusion",
        "Confusion matrix",
        paragraph(
            f"Detections with a score of {analysis.threshold:.2f} or more, IoU 0.5. Rows are true classes, columns "
            "detected classes; darker cells are a larger share of the row. The last row has the false positives.",
            note,
        ),
        tag("div", grid, class_="scroll", role="region", aria_label="Table: confusion matrix", tabindex="0"),
        tag("ul", "".join(tag("li", text(pair)) for pair in pairs)) if pairs else "",
    )


def _cell(count: int, share: float, is_diagonal: bool) -> str:
    if not count:
        return tag("td", "", class_="diagonal" if is_diagonal else None)
    return tag(
        "td",
        f"{count:,}",
        style=f"--v:{share:.2f}",
        class_="diagonal" if is_diagonal else None,
        title=f"{share:.0%} of the row",
    )


def _errors_section(analysis: Analysis) -> str:
    split = analysis.errors
    most = max([*split.costs.values(), 1e-9])
    rows = [
        (
            text(kind.value) + tag("small", text(DESCRIPTIONS[kind])),
            f"{split.costs[kind]:.2f}" + tag("span", "", class_="bar", style=f"--v:{split.costs[kind] / most:.3f}"),
            f"{split.counts[kind]:,}",
        )
        for kind in split.costs
    ]
    return section(
        "errors",
        "Cost of errors",
        paragraph(
            f"Gain of AP50 ({split.ap50:.1f}) in points if only the errors of one type were corrected "
            "(TIDE, Bolya et al. 2020). The costs do not add up: one error may hide another.",
            f"All wrong detections together cost {split.false_positives:.1f} points, all objects not found "
            f"{split.false_negatives:.1f}.",
        ),
        table(["Error type", "Cost in points", "Errors at any score"], rows, caption="Errors by type", numeric=(1, 2)),
    )


def _curves_section(analysis: Analysis) -> str:
    largest = sorted(analysis.curves, key=lambda each: -analysis.curves[each].num_objects)[:MAX_LINES]
    if not largest:
        return ""
    named = [(analysis.names[class_id], analysis.curves[class_id]) for class_id in largest]
    grid = _GRID.tolist()
    all_name = "all classes"
    recall_over_score, f1, precision_over_score, pr = [], [], [], []
    for name, curve in named:
        precision, recall, f1_values = curve.at(_GRID)
        precision_over_score.append(Series(name, grid, precision.tolist()))
        recall_over_score.append(Series(name, grid, recall.tolist()))
        f1.append(Series(name, grid, f1_values.tolist()))
        envelope = _envelope(curve.precision).tolist()
        pr.append(Series(name, [0.0, *curve.recall.tolist()], [*envelope[:1], *envelope] if envelope else [0.0]))
    f1.append(Series(all_name, grid, mean_f1(list(analysis.curves.values()), _GRID).tolist()))
    charts = [
        Chart("Precision over recall", "recall", "precision", pr),
        Chart("F1 over score", "score threshold", "F1", f1),
        Chart("Precision over score", "score threshold", "precision", precision_over_score),
        Chart("Recall over score", "score threshold", "recall", recall_over_score),
    ]
    drawn = "".join(
        line_chart(chart, x_range=(0, 1), y_range=(0, 1), bold=all_name, has_legend=len(named) <= 8) for chart in charts
    )
    options = "".join(tag("option", text(name), value=name) for name in sorted(name for name, _ in named))
    choice = tag(
        "p",
        tag("label", "Highlight a class ", for_="highlight")
        + tag("select", tag("option", "none", value="") + options, id="highlight"),
        class_="scripted",
    )
    note = f"The {MAX_LINES} classes with the most objects are shown." if len(analysis.curves) > MAX_LINES else ""
    return section(
        "curves",
        "Precision, recall and F1",
        paragraph(
            "At IoU 0.5, by score threshold. A higher threshold gives fewer false positives and more missed objects.",
            note,
        ),
        choice,
        tag("div", drawn, class_="charts"),
    )


def _slices_section(analysis: Analysis) -> str:
    rows = [
        (text(each.name), text(each.kind), f"{each.num_objects:,}", number(each.ap), number(each.ap50))
        for each in analysis.slices
    ]
    return section(
        "slices",
        "By size, shape and group",
        paragraph(
            "Objects outside a row's range are ignored, and unmatched detections count only in the row of their "
            "size or shape. Sizes are in pixels of the source image."
        ),
        table(["Part of the data", "By", "Objects", "AP", "AP50"], rows, caption="Metrics by part", numeric=(2, 3, 4)),
    )


def _scores_section(analysis: Analysis) -> str:
    reliability, spread = analysis.calibration, analysis.histograms
    ece = (
        "No detection scores 0.05 or more."
        if reliability.ece == UNDEFINED
        else (
            f"Expected calibration error {reliability.ece:.3f}: the mean difference between scores and the share "
            "of correct detections, over detections with a score of 0.05 or more."
        )
    )
    charts = [
        reliability_chart("Calibration of scores", reliability.edges, reliability.precision, reliability.counts),
        stacked_bars(
            "Detections by score",
            "score",
            "detections",
            spread.edges,
            [("right", spread.scores_right), ("wrong", spread.scores_wrong)],
        ),
        stacked_bars(
            f"IoU with the nearest object, score {analysis.threshold:.2f} or more",
            "IoU",
            "detections",
            spread.edges,
            [("detections", spread.overlaps)],
        ),
    ]
    return section("scores", "Scores and overlaps", paragraph(ece), tag("div", "".join(charts), class_="charts"))


def _envelope(precision: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(precision[::-1])[::-1]


def _interval(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{low:.3f} to {high:.3f}" if low != UNDEFINED and math.isfinite(low) else NO_VALUE
