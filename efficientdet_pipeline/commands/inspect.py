"""--mode=inspect: shards drawn as network inputs with statistics, or parameters and FLOPs of a network."""

from pathlib import Path

from absl import logging

from efficientdet_pipeline.data.input_pipeline import build_augmenter
from efficientdet_pipeline.data.prepare import ProgressBar
from efficientdet_pipeline.inspection.environment import environment_table
from efficientdet_pipeline.inspection.model_view import show_model
from efficientdet_pipeline.inspection.report import ReportWriter, files_of_report, report_files
from efficientdet_pipeline.inspection.run_shards import network_to_inspect, shards_to_inspect
from efficientdet_pipeline.inspection.samples import augmentation, samples
from efficientdet_pipeline.inspection.stats import count_splits
from efficientdet_pipeline.inspection.summary import log_summary
from efficientdet_pipeline.models.class_names import given_class_names
from efficientdet_pipeline.options.hparams import HparamsGiven, merge_hparams
from efficientdet_pipeline.options.inspect import InspectOptions
from efficientdet_pipeline.options.parser import Given, Sources
from efficientdet_pipeline.options.schema import declarations
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files
from efficientdet_pipeline.visualize.annotated_figure import Style
from efficientdet_pipeline.visualize.boxes import class_color, load_font


def run(options: InspectOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Shows the records, the model or the environment."""
    if options.what == "environment":
        logging.info("%s", environment_table())
        return
    if options.what == "model":
        show_model(options, hparams)
        return
    files, sampled, used, names = shards_to_inspect(options)
    hparams_of_run = [Given(used.get("hparams") or "", "the run's args.yaml")]
    of_run, _ = merge_hparams(hparams_of_run, InspectOptions, declarations(TrainOptions))
    folder, names_written = Path(options.save_samples_dir), report_files(options.samples)
    earlier = check_output_files(folder, names_written, option="save_samples_dir", known=files_of_report(folder))
    note_output_files(folder, names_written, earlier)  # Before reading the shards, which may take an hour.
    with ProgressBar("reading", "shard") as show:
        contents = count_splits(files, {**names, **given_class_names(hparams if hparams.label_map else of_run)}, show)
    config = network_to_inspect(options, {**used, "hparams": of_run.network}, hparams, contents)
    augmenter = None
    given = {*read.given, *hparams.options}
    if "close_mosaic" in given and not read.source_of("close_mosaic").startswith("--augment_"):
        logging.warning("--close_mosaic has no effect here: samples are shown as in the first epoch.")
    if not options.eval:
        augmenter = build_augmenter(augmentation(options.augmentation, used, given), config)
    report = ReportWriter(
        folder=folder,
        contents=contents,
        config=config,
        style=Style(class_color, load_font, contents.label_map),
        source=options.file_pattern or str(next(iter(files.values()))[0].parent),
        is_augmented=augmenter is not None,
        earlier=frozenset(earlier),
    )
    num_samples = report.write(
        samples(
            [location for split in contents.splits if split.name in sampled for location in split.locations],
            options.samples,
            config,
            augmenter,
            seed=options.seed.tf_random_seed,
            skip_crowd=augmenter is not None and used.get("skip_crowd_during_training", True),
        )
    )
    note_output_files(folder, (), {*names_written, *earlier})
    log_summary(contents, folder, num_samples)
