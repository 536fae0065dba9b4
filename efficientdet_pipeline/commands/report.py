"""--mode=report: report of a run, written into its folder, or served during training."""

from pathlib import Path

from absl import logging

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.report import ReportOptions
from efficientdet_pipeline.report.evaluation_folder import EvaluationFolder
from efficientdet_pipeline.report.live_page import LivePage
from efficientdet_pipeline.report.run_page import LINKS, write_run_page
from efficientdet_pipeline.report.serve import LiveView
from efficientdet_pipeline.runs.run_dir import find_run


def run(options: ReportOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Writes the report of the run that the options name, or serves it until Ctrl-C."""
    del read, hparams
    if not options.serve:
        report_run(options)
        return
    folder = find_run(options.run)
    page = LivePage(folder, refresh_seconds=options.refresh_seconds)
    files = {name: folder.path / name for name in LINKS}
    with LiveView(page, files=files, port=options.port) as view:
        logging.info("%s shows the run %s, on this machine only. Ctrl-C stops the server.", view.url, folder.path)
        view.wait()


def report_run(options: ReportOptions) -> Path:
    """Writes the report of the run that the options name, and returns its path."""
    folder = find_run(options.run)
    page = write_run_page(folder)
    logging.info("%s", page)
    saved = EvaluationFolder(folder.path)
    if not (saved.saved.is_file() or saved.by_class.is_file()):
        logging.info(
            "The report has no evaluation yet: `%s` adds one.",
            command_line("--mode=eval", f"--model_dir={folder.path}"),
        )
    return page
