"""--mode=train and --mode=traineval: images in, detector out."""

from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.report.run_report import RunReport
from efficientdet_pipeline.training.trainer import train_run


def run(options: TrainOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Trains the run that the options describe, from where it is to its end."""
    train_run(options, read, hparams, report=RunReport())
