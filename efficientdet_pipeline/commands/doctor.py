"""--mode=doctor: one look at the data, one page of what is wrong with it, and a mended copy where asked for."""

import tempfile
from pathlib import Path
from typing import Any

import efficientdet
from absl import logging

from efficientdet_pipeline.console import print_next_command, say, silent_native_log
from efficientdet_pipeline.data import prepare
from efficientdet_pipeline.doctor import collect, fix, report, run_checks
from efficientdet_pipeline.doctor.anchor_fit import AnchorGrid
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.doctor.issue import Issue, Severity, ranked, verdict
from efficientdet_pipeline.errors import ExitCode, OptionsError
from efficientdet_pipeline.options.hparams import network_overrides
from efficientdet_pipeline.options.label_map import read_label_map
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.runs.output_files import check_output_json
from tfrmod import manifest
from tfrmod.convert_options import ConvertOptions
from tfrmod.workers import Workers, default_workers

EXIT_CODES = {Severity.NOTE: ExitCode.DONE, Severity.WARNING: ExitCode.WARNINGS, Severity.ERROR: ExitCode.DATA}


def run(options: Any, read: Sources, hparams: Any) -> ExitCode:
    """Looks at what the options name; the exit code tells clean, warnings, errors."""
    _warn_of_what_is_in_vain(options, read)
    label_map = _label_map(options, hparams)
    if options.fix:
        fix.check_output_folder(Path(options.fix))
    if options.report and not options.json:
        check_output_json(Path(options.report), {"verdict", "findings"}, option="report")
    num_workers = options.num_workers or default_workers()
    of_training: list[Issue | None] = []
    with tempfile.TemporaryDirectory(prefix="doctor-") as staging, Workers(num_workers) as workers:
        if options.run_dir:
            with silent_native_log(unless=options.debug):
                from efficientdet_pipeline.doctor import run_analysis

            title, facts, plan, of_training = run_analysis.analyze_run(options, hparams, workers)
        else:
            plan = _plan(options, hparams, label_map)
            title, facts = _facts(options, label_map, Path(staging), workers)
        findings = ranked([*of_training, *run_checks.validate_dataset(facts, plan)])
        mended = fix.write_fixed_dataset(facts, Path(options.fix)) if options.fix else None
    if options.json:
        print(report.as_json(facts, plan, findings, title=title, mended=mended), flush=True)
    else:
        content = report.as_json(facts, plan, findings, title=title, mended=mended)
        full = report.write_where_cut(options.report, findings, content)
        say(report.page(facts, plan, findings, title=title, full=full))
        if mended is not None:
            logging.info("\n%s %s", report.mended_in_words(mended), _whereabouts(Path(options.fix)))
            print_next_command(*_next_look(options))
    return EXIT_CODES[verdict(findings)]


def _whereabouts(copy: Path) -> str:
    """Returns where the copy lies, and what keeps the ids of its classes."""
    label_map = copy / fix.LABEL_MAP
    keeping = f" Its classes keep their ids by --label_map={label_map}." if label_map.exists() else ""
    return f"It lies in {copy}.{keeping}"


def _next_look(options: Any) -> list[str]:
    """Returns the command that looks at the mended copy as its original was looked at."""
    label_map = Path(options.fix) / fix.LABEL_MAP
    given = {
        "label_map": label_map if label_map.exists() else "",
        "train_set": options.train_set,
        "val_set": options.val_set,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value]
    return ["--mode=doctor", f"--url_dataset={options.fix}", *words]


def _label_map(options: Any, hparams: Any) -> dict[int, str]:
    given = read_label_map(options.label_map, source="--label_map")
    return given or read_label_map(hparams.label_map, source="label_map of --hparams") or {}


def _plan(options: Any, hparams: Any, label_map: dict[int, str]) -> Plan:
    try:
        config = efficientdet.get_config(options.model_name or "efficientdet-d0", **network_overrides(options, hparams))
    except ValueError as error:
        raise OptionsError(str(error)) from None
    return Plan(
        grid=AnchorGrid.of(config),
        max_detections=config.nms_configs["max_output_size"],
        max_instances=options.max_instances_per_image,
        num_classes=options.num_classes,
        label_map=label_map,
    )


def _facts(options: Any, label_map: dict[int, str], staging: Path, workers: Workers) -> tuple[str, DatasetStats]:
    """Returns what is looked at, in words, and its facts."""
    with prepare.ProgressBar("looking", "photo") as show:
        if options.url_dataset or options.data_dir:
            folder = prepare.prepare_images(options)
            if options.fix:
                fix.check_output_folder(Path(options.fix), folder)
            facts = collect.photo_facts(folder, _conversion(options, label_map), staging, workers, show)
            return options.url_dataset or options.data_dir, facts
        patterns = {"train": options.train_file_pattern, "val": options.val_file_pattern}
        files = {name: manifest.shard_files(pattern) for name, pattern in patterns.items() if pattern}
        return " and ".join(filter(None, patterns.values())), collect.record_facts(files, workers, show)


def _conversion(options: Any, label_map: dict[int, str]) -> ConvertOptions:
    """Returns the conversion that a training with these options would make."""
    try:
        return ConvertOptions(
            label_map=label_map or None,
            **prepare.image_summary(options),
        )
    except ValueError as error:
        raise OptionsError(str(error)) from None


def _warn_of_what_is_in_vain(options: Any, read: Sources) -> None:
    """Names the options that are given and say nothing of what is looked at."""
    in_vain = set() if options.run_dir else {"detect_photos"}
    if not (options.url_dataset or options.data_dir):
        in_vain |= {
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
        in_vain |= {"label_map", "max_instances_per_image"}
    names = [f"--{name}" for name in read.given if name in in_vain]
    if names:
        what = (
            "the shards of a run"
            if options.run_dir
            else "photos"
            if options.url_dataset or options.data_dir
            else "shards"
        )
        logging.warning("No effect where %s are looked at: %s.", what, ", ".join(names))
