"""Dataset check of images, shards or a trained run; writes a corrected copy on request."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import efficientdet
from absl import logging

from efficientdet_pipeline.console import silent_native_log
from efficientdet_pipeline.data import prepare
from efficientdet_pipeline.doctor import collect, fix, run_checks
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.doctor.fix import FixedDataset
from efficientdet_pipeline.doctor.issue import Issue, rank_issues
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.anchor_fit import AnchorGrid
from efficientdet_pipeline.models.build import model_name
from efficientdet_pipeline.options.doctor import DoctorOptions
from efficientdet_pipeline.options.hparams import HparamsGiven, network_overrides
from efficientdet_pipeline.options.label_map import read_label_map
from efficientdet_pipeline.options.parser import Sources
from tfrmod import manifest
from tfrmod.convert_options import ConvertOptions
from tfrmod.workers import Workers, default_workers


@dataclass(frozen=True)
class CheckedData:
    """Result of a dataset check."""

    title: str
    """The checked data, as the options name it."""
    stats: DatasetStats
    plan: Plan
    issues: list[Issue]
    """The most harmful issue first."""
    fixed: FixedDataset | None
    """The corrected copy, if requested."""


def check_data(options: DoctorOptions, read: Sources, hparams: HparamsGiven) -> CheckedData:
    """Returns the issues of the data that the options name; writes a corrected copy if requested."""
    _warn_without_effect(options, read)
    label_map = _label_map(options, hparams)
    if options.fix:
        fix.check_output_folder(Path(options.fix))
    num_workers = options.images.num_workers or default_workers()
    training_issues: list[Issue | None] = []
    with tempfile.TemporaryDirectory(prefix="doctor-") as staging, Workers(num_workers) as workers:
        if options.run_dir:
            with silent_native_log(unless=options.general.debug):
                from efficientdet_pipeline.doctor import run_analysis

            title, stats, plan, training_issues = run_analysis.analyze_run(options, hparams, workers)
        else:
            plan = _plan(options, hparams, label_map)
            title, stats = _dataset_stats(options, label_map, Path(staging), workers)
        issues = rank_issues([*training_issues, *run_checks.validate_dataset(stats, plan)])
        fixed = fix.write_fixed_dataset(stats, Path(options.fix)) if options.fix else None
    return CheckedData(title, stats, plan, issues, fixed)


def _label_map(options: DoctorOptions, hparams: HparamsGiven) -> dict[int, str]:
    given = read_label_map(options.images.label_map, source="--label_map")
    return given or read_label_map(hparams.label_map, source="label_map of --hparams") or {}


def _plan(options: DoctorOptions, hparams: HparamsGiven, label_map: dict[int, str]) -> Plan:
    overrides = network_overrides(options.model, hparams)
    try:
        config = efficientdet.get_config(model_name(options.model), **overrides)
    except ValueError as error:
        raise OptionsError(str(error)) from None
    return Plan(
        grid=AnchorGrid.of(config),
        max_detections=config.nms_configs["max_output_size"],
        max_instances=options.max_instances_per_image,
        num_classes=options.model.num_classes,
        label_map=label_map,
        resize=config.resize,
    )


def _dataset_stats(
    options: DoctorOptions, label_map: dict[int, str], staging: Path, workers: Workers
) -> tuple[str, DatasetStats]:
    """Returns a description of the checked data, and its statistics."""
    with prepare.ProgressBar("looking", "image") as show:
        if options.images.url_dataset or options.images.data_dir:
            folder = prepare.prepare_images(options.images)
            if options.fix:
                fix.check_output_folder(Path(options.fix), folder)
            stats = collect.annotation_stats(folder, _conversion(options, label_map), staging, workers, show)
            return options.images.url_dataset or options.images.data_dir, stats
        patterns = {"train": options.train_file_pattern, "val": options.val_file_pattern}
        files = {
            name: manifest.shard_files(pattern, source=f"--{name}_file_pattern")
            for name, pattern in patterns.items()
            if pattern
        }
        return " and ".join(filter(None, patterns.values())), collect.record_stats(files, workers, show)


def _conversion(options: DoctorOptions, label_map: dict[int, str]) -> ConvertOptions:
    """Returns the conversion options that a training with these options would use."""
    try:
        return ConvertOptions(
            label_map=label_map or None,
            **prepare.image_summary(options.images, options.seed.tf_random_seed),
        )
    except ValueError as error:
        raise OptionsError(str(error)) from None


def _warn_without_effect(options: DoctorOptions, read: Sources) -> None:
    """Warns of options that are given but have no effect on the checked data."""
    without_effect = set() if options.run_dir else {"detect_photos"}
    if not (options.images.url_dataset or options.images.data_dir):
        without_effect |= {
            "source_format",
            "label_aliases",
            "train_set",
            "val_set",
            "train_valid_split",
            "test_split",
            "group_near_duplicates",
            "tf_random_seed",
        }
    if options.run_dir:
        without_effect |= {"label_map", "max_instances_per_image"}
    names = [f"--{name}" for name in read.given if name in without_effect]
    if names:
        what = (
            "the shards of a run"
            if options.run_dir
            else "images"
            if options.images.url_dataset or options.images.data_dir
            else "shards"
        )
        logging.warning("No effect when checking %s: %s.", what, ", ".join(names))
