"""What --mode=eval writes of a segmentation or classification: metrics, and the page that explains them."""

import sys
from pathlib import Path
from typing import Any

from absl import logging

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.evaluation import write_metrics
from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation, write_class_evaluation
from efficientdet_pipeline.report.contents import EVALUATED, Command, ReportContents
from efficientdet_pipeline.report.evaluation_report import EvaluationPlace
from efficientdet_pipeline.report.page import write_report
from efficientdet_pipeline.report.run_page import with_evaluation, write_run_page


def write_class_report(place: EvaluationPlace, evaluation: ClassEvaluation, *, title: str) -> Path:
    """Writes an evaluation and its page, and returns the page; that of the run where it is the run's own."""
    write_class_evaluation(place.folder.by_class, evaluation)
    if place.is_run and place.run is not None:
        return write_run_page(place.run, evaluation)
    contents = ReportContents(
        title=title,
        facts_title=EVALUATED,
        commands=[Command("Evaluate again:", command_line(*sys.argv[1:]))],
        links={"metrics.json": "../metrics.json"} if (place.folder.path / "metrics.json").is_file() else {},
    )
    return write_report(place.folder.report, with_evaluation(contents, evaluation))


def finish_class_evaluation(
    evaluation: ClassEvaluation,
    place: EvaluationPlace,
    path: Path,
    *,
    name: str,
    table: str,
    explains: bool,
    epoch: float = -1,
) -> dict[str, Any]:
    """Prints and writes the metrics, and the page that explains them; returns the metrics.

    Args:
      evaluation: what was measured.
      place: of the page.
      path: of the metrics.
      name: of the network.
      table: the metrics as text.
      explains: whether the page is written.
      epoch: of the evaluated weights, -1 where it is not known.
    """
    metrics = evaluation.metrics.as_dict()
    logging.info("%s\n%s", name, table)
    try:
        if explains or path.parent == place.folder.path:
            place.begin()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_metrics(path, {**metrics, **evaluation.facts}, epoch)
        logging.info("Written to %s", path)
        if explains:
            logging.info("Explained in %s", write_class_report(place, evaluation, title=f"Evaluation of {name}"))
    except OSError as error:
        # The numbers are there, and minutes of work; that a folder is closed to us must not take them away.
        logging.warning(
            "The metrics are those printed above, and no file holds them: %s cannot be written (%s). To have the file, "
            "copy the checkpoint to a folder of yours and name it by --path_ckpt.",
            *(path, error.strerror or error),
        )
    return metrics
