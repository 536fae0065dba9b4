"""--mode=tune: hyperparameter search for the highest AP."""

from absl import logging

from efficientdet_pipeline.console import print_next_command, say
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.tune import TuneOptions
from efficientdet_pipeline.tuning.search_space import check_values, read_space
from efficientdet_pipeline.tuning.study import StudyResult, common_arguments, run_study
from efficientdet_pipeline.tuning.study_report import BEST, PICTURE, TABLE, format_table, write_report


def run(options: TuneOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Runs the remaining trials of the study, and logs the best one."""
    del hparams
    result = tune(options, read)
    say(format_table(result))
    logging.info("%s", result.folder / TABLE)
    logging.info("%s", result.folder / PICTURE)
    best = result.best
    logging.info("Best trial: %d, with %.4f on the validation images.", best.number, best.value)
    print_next_command(f"@{result.folder / BEST}", "--mode=traineval")


def tune(options: TuneOptions, read: Sources) -> StudyResult:
    """Returns the trials of the study that the options describe, after running the remaining ones."""
    parameters = read_space(options.study.space)
    check_values(options.study.space, parameters, options)
    common = common_arguments(read.given, parameters)
    return run_study(options.study, parameters, common, seed=options.seed.tf_random_seed, on_trial=write_report)
