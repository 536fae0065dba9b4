"""Quick dataset check before a training: a few seconds; stops a training that could not learn."""

from pathlib import Path

from absl import logging
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.doctor import collect, report, run_checks
from efficientdet_pipeline.doctor.dataset_stats import Plan
from efficientdet_pipeline.doctor.issue import Issue, Severity
from efficientdet_pipeline.doctor.issue_types import issue_type
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.models.anchor_fit import AnchorGrid
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.options.doctor import DoctorOptions
from efficientdet_pipeline.options.schema import declarations, flatten
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks.task import NetworkDescription

MAX_RECORDS = 1000
MAX_ISSUES = 5
_OF_THE_MODE = {"mode", "workspace", "run_name", "model_dir", "model_ckpts", "debug", "traceback"}


def quick_check(options: TrainOptions, shards: Shards, network: NetworkDescription) -> list[Issue]:
    """Logs issues with the boxes and classes of the first records of all shards, and returns all issues.

    Images are not decoded. Only data of detectors are checked.

    Raises:
      DataError: there is nothing to learn, or it would be learnt wrongly.
    """
    if not isinstance(network, Network):
        return []
    config = network.config
    files = {"train": [Path(name) for name in shards.train], "val": [Path(name) for name in shards.val]}
    stats = collect.sampled_record_stats(files, MAX_RECORDS)
    plan = Plan(
        grid=AnchorGrid.of(config),
        has_own_anchors=isinstance(config, DetectorConfig),
        max_detections=config.nms_configs["max_output_size"],
        max_instances=options.max_instances_per_image,
        skips_crowds=options.skip_crowd_during_training,
        validates=bool(shards.val),
        resize=config.resize,
    )
    issues = run_checks.validate_dataset(stats, plan)
    errors = [each for each in issues if issue_type(each.code).severity == Severity.ERROR]
    if errors:
        raise DataError(
            f"{report.render_line(errors[0])} For details run {_command(options)}; --nodoctor trains anyway."
        )
    warnings = [each for each in issues if each.severity > Severity.NOTE][:MAX_ISSUES]
    for each in warnings:
        logging.warning("%s", report.render_line(each))
    if warnings:
        logging.info("More: %s", _command(options))
    return issues


def _command(options: TrainOptions) -> str:
    """Returns the command of the full check, with the options of the training that bear on images and network."""
    values, given = flatten(options), []
    for name, declared in declarations(DoctorOptions).items():
        value = values.get(name, declared.default)
        if name not in _OF_THE_MODE and value != declared.default:
            given.append(f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}")
    return command_line("--mode=doctor", *given)
