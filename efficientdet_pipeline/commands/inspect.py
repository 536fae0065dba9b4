"""--mode=inspect: what is in the shards, drawn as the network sees it; what a network costs."""

from pathlib import Path
from typing import Any

import efficientdet
from absl import logging
from efficientdet.flops import model_cost

from efficientdet_pipeline.data.input_pipeline import build_augmenter
from efficientdet_pipeline.data.prepare import ProgressBar
from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.inspection.report import PAGE, ReportWriter, files_of_report, report_files
from efficientdet_pipeline.inspection.samples import augmentation, samples
from efficientdet_pipeline.inspection.stats import InspectionStats, count_splits, split_names
from efficientdet_pipeline.models.build import Network, describe_network, model_name
from efficientdet_pipeline.models.class_names import given_class_names
from efficientdet_pipeline.options.hparams import HparamsGiven, merge_hparams, network_overrides
from efficientdet_pipeline.options.inspect import InspectOptions
from efficientdet_pipeline.options.parser import Given, Sources
from efficientdet_pipeline.options.schema import declarations
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files
from efficientdet_pipeline.runs.run_dir import find_run
from efficientdet_pipeline.visualize.annotated_figure import Style
from efficientdet_pipeline.visualize.boxes import class_color, load_font
from tfrmod import manifest

MAX_DAMAGED, MAX_CLASSES = 3, 8


def run(options: InspectOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Shows the records or the model."""
    if options.what == "model":
        network = describe_network(model_name(options.model), network_overrides(options.model, hparams), {})
        logging.info("%s", model_cost(efficientdet.build_model(network.config)).table())
        return
    files, sampled, used, names = _files(options)
    hparams_of_run = [Given(used.get("hparams") or "", "the run's args.yaml")]
    of_run, _ = merge_hparams(hparams_of_run, InspectOptions, declarations(TrainOptions))
    folder, names_written = Path(options.save_samples_dir), report_files(options.samples)
    earlier = check_output_files(folder, names_written, option="save_samples_dir", known=files_of_report(folder))
    note_output_files(folder, names_written, earlier)  # Now: an hour of reading must not be in vain.
    with ProgressBar("reading", "shard") as show:
        contents = count_splits(files, {**names, **given_class_names(hparams if hparams.label_map else of_run)}, show)
    network = _network(options, {**used, "hparams": of_run.network}, hparams, contents)
    augmenter = None
    given = {*read.given, *hparams.options}
    if "close_mosaic" in given and not read.source_of("close_mosaic").startswith("--augment_"):
        logging.warning("--close_mosaic has no effect here: samples are shown as in the first epoch.")
    if not options.eval:
        augmenter = build_augmenter(augmentation(options.augmentation, used, given), network.config)
    report = ReportWriter(
        folder=folder,
        contents=contents,
        config=network.config,
        style=Style(class_color, load_font, contents.label_map),
        source=options.file_pattern or str(next(iter(files.values()))[0].parent),
        is_augmented=augmenter is not None,
        earlier=frozenset(earlier),
    )
    num_samples = report.write(
        samples(
            [location for split in contents.splits if split.name in sampled for location in split.locations],
            options.samples,
            network.config,
            augmenter,
            seed=options.seed.tf_random_seed,
            skip_crowd=augmenter is not None and used.get("skip_crowd_during_training", True),
        )
    )
    note_output_files(folder, (), {*names_written, *earlier})
    _log_summary(contents, folder, num_samples)


def _files(options: InspectOptions) -> tuple[dict[str, list[Path]], set[str], dict[str, Any], dict[int, str]]:
    """Returns shards by split, the splits that samples are taken of, and the run's options and names of classes."""
    if options.file_pattern:
        files = split_names(manifest.shard_files(options.file_pattern))
        return files, set(files), {}, {}
    folder = find_run(options.run)
    used, names = metadata.read_args(folder.args), {}
    wanted = "val" if options.eval else "train"
    if folder.manifest.exists():
        made = manifest.Manifest.load(folder.manifest)
        names = made.label_map
        files = {name: [made.folder / shard.name for shard in split.files] for name, split in made.splits.items()}
    else:
        patterns = {name: used.get(f"{name}_file_pattern") for name in ("train", "val")}
        files = {name: list(manifest.shard_files(glob)) for name, glob in patterns.items() if glob}
    if not files.get(wanted):
        raise OptionsError(
            f"file_pattern must name shards. Received nothing, and the run {folder.path} has no {wanted} shards; "
            "try --file_pattern='shards/train-*'.",
            option="file_pattern",
        )
    return {name: paths for name, paths in files.items() if paths}, {wanted}, used, names


def _network(
    options: InspectOptions, used: dict[str, Any], hparams: HparamsGiven, contents: InspectionStats
) -> Network:
    size = {"image_size": used["image_size"]} if used.get("image_size") else {}
    return describe_network(
        options.model.model_name or used.get("model_name") or model_name(options.model),
        {
            "num_classes": max([1, *contents.label_map]),
            **used["hparams"],
            **size,
            **network_overrides(options.model, hparams),
        },
        contents.label_map,
    )


def _log_summary(contents: InspectionStats, folder: Path, num_samples: int) -> None:
    """Says in four lines what was found and where it is.

    Raises:
      DataError: records are damaged, or there are none.
    """
    for split in contents.splits:
        boxes = split.boxes_of
        classes = [f"{contents.label_map[class_id]} {count:,}" for class_id, count in boxes.most_common(MAX_CLASSES)]
        classes += [f"{len(boxes) - len(classes):,} more classes"] if len(boxes) > len(classes) else []
        logging.info(
            "%s: %d images, %d of them without objects, %d boxes (%s)",
            *(split.name, split.num_images, split.num_negatives, split.num_boxes, ", ".join(classes) or "none"),
        )
        odd = ", ".join(f"{count:,} boxes {what}" for what, count in split.unusual.items())
        if odd:
            logging.warning("%s: %s.", split.name, odd)
    logging.info("%d samples, sheets and charts are in %s", num_samples, folder)
    logging.info("All of it on one page: %s", folder / PAGE)
    damaged = contents.damaged
    if damaged:
        texts = [
            f"{record.location.file}, record {record.location.record} at byte {record.location.offset} ({record.what})"
            for record in damaged[:MAX_DAMAGED]
        ]
        more = f"; and {len(damaged) - len(texts):,} more, listed on the page" if len(damaged) > len(texts) else ""
        raise DataError(
            f"{len(damaged):,} damaged {'record' if len(damaged) == 1 else 'records'} (counted from 0): "
            f"{'; '.join(texts)}{more}. Training would stop there. Make the shards again, or copy them again from "
            "where they came."
        )
    if not any(split.num_images for split in contents.splits):
        names = ", ".join(str(path) for split in contents.splits for path in split.files[:MAX_DAMAGED])
        raise DataError(f"The shards must hold records. They hold none: {names}. Check --file_pattern.")
