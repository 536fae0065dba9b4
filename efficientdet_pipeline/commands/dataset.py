"""--mode=dataset: photos to shards. Training begins with the same steps."""

from pathlib import Path
from typing import Any

import yaml
from absl import logging

from efficientdet_pipeline.commands import metadata
from efficientdet_pipeline.commands.announcement import announce, sources_of
from efficientdet_pipeline.commands.photos import data_identity, find_photos, progress_bar
from efficientdet_pipeline.console import log_to_file, suggest
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.reader import Sources
from efficientdet_pipeline.runs.folder import empty_folder, run_folder
from efficientdet_pipeline.runs.lock import locked
from efficientdet_pipeline.runs.records import update_json, write_args
from tfrmod import convert, manifest
from tfrmod.checks import CODES
from tfrmod.errors import DatasetError

FILES_NAMED = 5


def run(options: Any, read: Sources, hparams: Any) -> None:
    """Converts the photos that the options name."""
    identity = data_identity(options)
    folder = run_folder(options, f"dataset-{identity[:8]}")
    with locked(folder.path):
        if options.overwrite:
            empty_folder(folder)
        log_to_file(folder.log)
        announce(folder.path, options, read, hparams)
        write_args(folder.args, options, sources_of(read, hparams))
        made = make_shards(options, folder.records_path, identity, label_map=hparams.label_map)
        logging.info("Shards and manifest are in %s", folder.records_path)
        update_json(folder.metadata, metadata.of_data(options, made))
        shards = [f"--train_file_pattern={made.pattern('train')}"]
        shards.append(f"--val_file_pattern={made.pattern('val')}" if "val" in made.splits else "--mode=train")
        suggest(*shards)


def make_shards(
    options: Any, records: Path, identity: str, *, label_map: Any = None, image_size: int | str | None = None
) -> manifest.Manifest:
    """Returns the manifest of the shards in `records`; makes them where they are not there yet.

    Args:
      identity: of the photos, from `data_identity`.
      label_map: {id: name} of --hparams, where no option gives one.
      image_size: of the network's canvas, for hparams_config.yaml.
    """
    wanted = read_label_map(options.label_map) or label_map
    try:
        conversion = convert.ConvertOptions(
            label_map=wanted,
            train_set=options.train_set or None,
            val_set=options.val_set or None,
            train_valid_split=options.train_valid_split,
            test_split=options.test_split,
            seed=options.tf_random_seed,
            num_shards=options.num_shards,
            strict=options.strict,
            num_workers=options.num_workers or None,
            image_size=image_size,
            dataset=identity,
        )
    except ValueError as error:
        raise OptionsError(str(error), option="label_map") from None
    made = _made_before(records, conversion)
    if made is not None:
        logging.info("The shards in %s are up to date.", records)
        return made
    photos = find_photos(options)
    with progress_bar("converting", "photo") as show:
        made = convert.convert(photos, records, conversion, on_progress=lambda what, done, total: show(done, total))
    _tell(made)
    return made


def _made_before(records: Path, conversion: convert.ConvertOptions) -> manifest.Manifest | None:
    """Returns the manifest of whole shards of the same data and options; then nothing needs to be fetched."""
    try:
        made = manifest.Manifest.load(records)
        made.verify(contents=False)
    except DatasetError:
        return None
    return made if made.options == conversion.shaping() else None


def read_label_map(given: str) -> dict[int, str] | None:
    """Returns {id: name} from a YAML file or from names separated by commas."""
    if not given:
        return None
    if not given.endswith((".yaml", ".yml", ".json")):
        is_list = Path(given).is_file()
        names = Path(given).read_text(encoding="utf-8-sig").splitlines() if is_list else given.split(",")
        return dict(enumerate((name.strip() for name in names if name.strip() or not is_list), start=1))
    try:
        content = yaml.safe_load(Path(given).read_text(encoding="utf-8"))
        content = content.get("label_map", content)
        return {int(class_id): str(name) for class_id, name in content.items()}
    except FileNotFoundError:
        raise MissingError(f"label_map names a file that is not there: {given!r}. Check --label_map.") from None
    except (yaml.YAMLError, AttributeError, ValueError) as error:
        raise OptionsError(
            f"label_map must be a YAML file of `id: name` lines, or names separated by commas. Received {given!r}: "
            f"{error}.",
            option="label_map",
        ) from None


def _tell(made: manifest.Manifest) -> None:
    for name, split in made.splits.items():
        classes = ", ".join(f"{label} {count:,}" for label, count in split.boxes_per_class.items())
        empty = f", {split.num_negatives} without objects" if split.num_negatives else ""
        logging.info("%-5s %d photos%s, %d boxes (%s)", name, split.num_images, empty, split.num_boxes, classes)
    for code, problem in made.problems.items():
        logging.warning("%d × %s: %s", problem.count, CODES[code], _few(problem.files))
    if made.problems:
        logging.info("All of it is listed in %s", made.folder / convert.PROBLEMS_FILE)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:FILES_NAMED]) + (" …" if len(names) > FILES_NAMED else "")
