"""Report of a study: a table, a picture, and a file of options with the values of the best trial."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from efficientdet_pipeline.tuning.search_space import Parameter, Searched
from efficientdet_pipeline.tuning.study import StudyResult, TrialRecord
from tfrmod import fileio

TABLE = "trials.csv"
PICTURE = "study.png"
BEST = "best.config"
_ROWS = 10
_PANELS = 5
_COLORS = {"complete": "#0072b2", "pruned": "#d55e00"}


def write_report(result: StudyResult) -> None:
    """Writes trials.csv, study.png and, once a trial is complete, best.config into the study's folder."""
    fileio.write_file(result.folder / TABLE, _table_text(result))
    if any(trial.value is not None for trial in result.trials):
        draw_study(result, result.folder / PICTURE)
    if any(trial.state == "complete" for trial in result.trials):
        best = result.best
        lines = [f"# Trial {best.number} of {result.folder}: {best.value:.4f} on the validation images."]
        fileio.write_file(result.folder / BEST, "\n".join([*lines, *result.arguments(best)]) + "\n")


def format_table(result: StudyResult) -> str:
    """Returns the best trials as text, and how many were pruned or failed."""
    names = [each.name for each in result.parameters]
    order = sorted(result.trials, key=lambda trial: (trial.state != "complete", -(trial.value or 0.0)))
    rows = [["trial", "state", "best", "epochs", *names], *(_row(trial, names) for trial in order[:_ROWS])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counts = {state: sum(trial.state == state for trial in result.trials) for state in ("complete", "pruned", "failed")}
    return "\n".join([*lines, ", ".join(f"{count} {state}" for state, count in counts.items())])


def _row(trial: TrialRecord, names: Sequence[str]) -> list[str]:
    value = "" if trial.value is None else f"{trial.value:.4f}"
    return [
        str(trial.number),
        trial.state,
        value,
        str(trial.epochs),
        *(_text(trial.values.get(each)) for each in names),
    ]


def _text(value: Searched | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table_text(result: StudyResult) -> str:
    names = [each.name for each in result.parameters]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "best", "epochs", *names])
    for trial in result.trials:
        writer.writerow(
            [trial.number, trial.state, trial.value, trial.epochs, *(trial.values.get(each, "") for each in names)]
        )
    return text.getvalue()


def draw_study(result: StudyResult, path: Path) -> None:
    """Draws the value of each trial in their order, and over each parameter."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parameters = result.parameters[:_PANELS]
    columns = min(3, len(parameters) + 1)
    rows = -(-(len(parameters) + 1) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    best, line = 0.0, []
    for trial in result.trials:
        best = max(best, trial.value or 0.0) if trial.state == "complete" else best
        line.append((trial.number, best))
    axes[0].step(*zip(*line, strict=True), where="post", color="#7f7f7f", label="best so far")
    for state, color in _COLORS.items():
        found = [trial for trial in result.trials if trial.state == state and trial.value is not None]
        marker = "o" if state == "complete" else "x"
        axes[0].scatter(
            [trial.number for trial in found], [trial.value for trial in found], c=color, marker=marker, label=state
        )
        for axis, parameter in zip(axes[1:], parameters, strict=False):
            places = [_place(parameter, trial.values[parameter.name]) for trial in found]
            axis.scatter(places, [trial.value for trial in found], c=color, marker=marker)
    axes[0].set(title="Trials", xlabel="trial", ylabel="best of its evaluations")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[0].legend(fontsize=8)
    for axis, parameter in zip(axes[1:], parameters, strict=False):
        axis.set(title=parameter.name)
        if parameter.log:
            axis.set_xscale("log")
        if parameter.choices:
            axis.set_xticks(range(len(parameter.choices)), [str(each) for each in parameter.choices])
            axis.set_xlim(-0.5, len(parameter.choices) - 0.5)
    for axis in axes[len(parameters) + 1 :]:
        axis.set_axis_off()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    fileio.write_file(path, content.getvalue())


def _place(parameter: Parameter, value: Searched) -> float:
    return float(parameter.choices.index(value)) if parameter.choices else float(value)
