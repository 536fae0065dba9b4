"""Conversion of images to shards, unless it is already done."""

from pathlib import Path

from absl import logging

from efficientdet_pipeline.data.prepare import ProgressBar, beam_runner, image_summary, prepare_images
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.dataset import DatasetOptions
from efficientdet_pipeline.options.label_map import LabelMapValue, read_label_map
from efficientdet_pipeline.options.schema import declarations
from tfrmod import convert, manifest
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.problems import CODES, FAULTS

FILES_NAMED = 5
CLASSES_NAMED = 20


def make_shards(
    options: DatasetOptions,
    records: Path,
    identity: str,
    *,
    seed: int,
    label_map: LabelMapValue = None,
    image_size: int | str | None = None,
    task: str = "detection",
) -> manifest.Manifest:
    """Returns the manifest of the shards in `records`, which are written if they do not exist yet.

    Args:
      options: images, splits and conversion.
      records: the folder of the shards.
      identity: of the images, from `data_identity`.
      seed: of the split.
      label_map: {id: name} of --hparams, used if no option gives one.
      image_size: of the network's canvas, for hparams_config.yaml.
      task: detection writes boxes, segmentation the class of each pixel, classification one class of each image.
    """
    conversion = conversion_options(options, identity, seed=seed, label_map=label_map, image_size=image_size, task=task)
    converted = _made_before(records, conversion)
    if converted is not None:
        logging.info("The shards in %s are up to date.", records)
        return converted
    workers = beam_runner(options.conversion, records / "beam")
    images = prepare_images(options.images)
    with ProgressBar("converting", "image") as show:
        converted = convert.convert(
            images, records, conversion, on_progress=lambda what, done, total: show(done, total), workers=workers
        )
    log_summary(converted, converted.folder / convert.PROBLEMS_FILE)
    return converted


def conversion_options(
    options: DatasetOptions,
    identity: str,
    *,
    seed: int,
    label_map: LabelMapValue = None,
    image_size: int | str | None = None,
    task: str = "detection",
) -> convert.ConvertOptions:
    """Returns the conversion options; see `make_shards` for the arguments.

    Raises:
      OptionsError: they contradict each other.
    """
    try:
        return convert.ConvertOptions(
            label_map=read_label_map(options.images.label_map, source="--label_map")
            or read_label_map(label_map, source="label_map of --hparams"),
            **image_summary(options.images, seed),
            num_shards=options.conversion.num_shards,
            strict=options.conversion.strict,
            num_workers=options.images.num_workers or None,
            max_images=options.conversion.num_images or None,
            skip_difficult=options.conversion.ignore_difficult_instances,
            prepare_size=options.conversion.prepare_size,
            verify=not options.conversion.no_verify,
            include_masks=options.conversion.include_masks,
            image_size=image_size,
            semantic=task == "segmentation",
            image_classes=task == "classification",
            dataset=identity,
        )
    except ValueError as error:
        named = [word for word in str(error).split() if word in declarations(DatasetOptions)]
        raise OptionsError(str(error), option=next(iter(named), None)) from None


def _made_before(records: Path, conversion: convert.ConvertOptions) -> manifest.Manifest | None:
    """Returns the manifest of complete shards of the same data and options, with which no download is needed."""
    try:
        converted = manifest.Manifest.load(records)
        converted.verify(contents=False)
    except DatasetError:
        return None
    return converted if converted.options == conversion.shaping() else None


def log_summary(converted: manifest.Manifest, problems: Path) -> None:
    """Logs the contents of the shards and the problems of the data, which are all in the file `problems`."""
    for name, split in converted.splits.items():
        met = [f"{label} {count:,}" for label, count in split.boxes_per_class.items() if count]
        classes = ", ".join(met[:CLASSES_NAMED]) + (f" … {len(met)} classes" if len(met) > CLASSES_NAMED else "")
        images = counted(split.num_images, "image")
        if converted.options.get("semantic"):
            logging.info("%-5s %s with semantic maps", name, images)
            continue
        if converted.options.get("image_classes"):
            logging.info("%-5s %s (%s)", name, images, classes)
            continue
        empty = f", {split.num_negatives} without objects" if split.num_negatives else ""
        by_class = f" ({classes})" if classes else ""
        logging.info("%-5s %s%s, %s%s", name, images, empty, counted(split.num_boxes, "box"), by_class)
    for code, problem in converted.problems.items():
        level = logging.WARNING if code in FAULTS else logging.INFO
        logging.log(level, "%d × %s: %s", problem.count, CODES[code], _few(problem.files))
    if converted.problems:
        logging.info("All problems are listed in %s", problems)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:FILES_NAMED]) + (" …" if len(names) > FILES_NAMED else "")
