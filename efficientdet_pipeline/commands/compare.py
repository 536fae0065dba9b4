"""--mode=compare: comparison of runs on one page."""

from pathlib import Path

from absl import logging

from efficientdet_pipeline.evaluation.bootstrap import difference_intervals
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.report import CompareOptions
from efficientdet_pipeline.report.comparison import ComparedRun
from efficientdet_pipeline.report.page import FILE_NAME
from efficientdet_pipeline.report.run_comparison import compare_runs, find_compared
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files


def run(options: CompareOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Compares the runs that the options name."""
    del read, hparams
    folders = find_compared(options.names, Path(options.workspace))
    place = Path(options.compare_dir).expanduser()
    earlier = check_output_files(place, [FILE_NAME], option="compare_dir")
    note_output_files(place, [FILE_NAME], earlier)
    page, runs = compare_runs(folders, place)
    logging.info("%s", summary(runs))
    logging.info("Comparison: %s", page)


def summary(runs: list[ComparedRun]) -> str:
    """Returns AP and AP50 of each run, and the difference of AP to the first run, with a 95% interval."""
    width = max(len(run.name) for run in runs)
    lines = [f"{'run':<{width}}     AP   AP50"]
    first = runs[0].analysis
    for run in runs:
        values = run.analysis.metrics.values
        line = f"{run.name:<{width}}  {values['AP']:5.3f}  {values['AP50']:5.3f}"
        own = run.analysis
        if run is not runs[0] and own.instances.source_ids == first.instances.source_ids:
            low, high = difference_intervals((first.instances, first.matches), (own.instances, own.matches)).overall[
                "AP"
            ]
            line += f"   {values['AP'] - first.metrics.values['AP']:+.3f} ({low:+.3f} to {high:+.3f})"
        elif run is not runs[0]:
            line += "   on different images"
        lines.append(line)
    return "\n".join(lines)
