"""Conversion with the flags of google/automl's converters: one split to shards with one prefix."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from absl import logging

from efficientdet_pipeline.console import print_next_command
from efficientdet_pipeline.data.conversion import conversion_options, log_summary
from efficientdet_pipeline.data.prepare import ProgressBar, beam_runner, prepare_images
from efficientdet_pipeline.options.convert import ConvertOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.label_map import read_label_map
from efficientdet_pipeline.options.parser import Sources
from tfrmod import automl_converters
from tfrmod.class_names import VOC_CLASSES

NAMES_SHOWN = 5


def run(options: ConvertOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Converts the split that the flags name."""
    _warn(options, read)
    prefix = Path(options.prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    gather = _coco(options) if options.converter.image_dir else _voc(options)
    place = options.data.images.url_dataset or options.data.images.data_dir or options.converter.image_dir
    conversion = conversion_options(options.data, place, seed=options.seed.tf_random_seed, label_map=hparams.label_map)
    # num_images was already applied when the images were collected.
    conversion = replace(conversion, label_map=_label_map(options) or conversion.label_map, max_images=None)
    with ProgressBar("converting", "image") as show:
        made = automl_converters.convert_to_prefix(
            gather,
            prefix,
            conversion,
            writes_truth=not options.converter.image_dir,
            on_progress=lambda what, done, total: show(done, total),
            workers=beam_runner(options.data.conversion, prefix),
        )
    log_summary(made, automl_converters.problems_path(prefix))
    logging.info("Shards and %s are in %s", automl_converters.manifest_path(prefix).name, prefix.parent)
    print_next_command("--mode=inspect", f"--file_pattern={made.pattern(prefix.name)}")


def _voc(options: ConvertOptions) -> Callable[[Path], None]:
    folder = prepare_images(options.data.images)
    return functools.partial(_gather_voc, folder, options)


def _gather_voc(folder: Path, options: ConvertOptions, destination: Path) -> None:
    missing = automl_converters.gather_voc(
        folder,
        destination,
        years=options.converter.years,
        set_name=options.converter.set or "train",
        annotations_dir=options.converter.annotations_dir,
        max_images=options.data.conversion.num_images or None,
    )
    if missing:
        few = ", ".join(missing[:NAMES_SHOWN]) + (" …" if len(missing) > NAMES_SHOWN else "")
        logging.warning("%d names of the list have neither an image nor an XML file: %s", len(missing), few)


def _coco(options: ConvertOptions) -> Callable[[Path], None]:
    annotations = Path(options.converter.object_annotations_file or options.converter.image_info_file)
    return functools.partial(automl_converters.gather_coco, Path(options.converter.image_dir), annotations)


def _label_map(options: ConvertOptions) -> dict[int, str] | None:
    """Returns {id: name} from the JSON file, else of the challenge of `year`."""
    path = options.converter.label_map_json_path
    if not path:
        is_challenge = bool(options.converter.year) and not options.data.images.label_map
        return dict(enumerate(VOC_CLASSES, start=1)) if is_challenge else None
    return read_label_map(path, source="--label_map_json_path")


def _warn(options: ConvertOptions, read: Sources) -> None:
    if options.converter.caption_annotations_file:
        logging.warning("caption_annotations_file has no effect: the detector does not use captions.")
    if options.converter.image_info_file and options.converter.object_annotations_file:
        logging.warning("image_info_file has no effect beside object_annotations_file, which lists the images too.")
    without_effect = (
        "train_set",
        "val_set",
        "train_valid_split",
        "test_split",
        "path_metadata",
        "run_name",
        "model_dir",
    )
    given = [f"--{name}" for name in without_effect if name in read.given]
    if given:
        logging.warning("No effect on the conversion of one split to one prefix: %s.", ", ".join(given))
