"""--mode=train and --mode=traineval: training from images to a detector."""

from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.report.run_report import RunReport
from efficientdet_pipeline.training.trainer import train_run


def run(options: TrainOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Starts or resumes the run that the options describe, and trains it to its end."""
    train_run(options, read, hparams, report=RunReport())
