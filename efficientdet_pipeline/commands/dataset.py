"""--mode=dataset: photos to shards. Training begins with the same steps."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from absl import logging
from tqdm import tqdm

from efficientdet_pipeline.commands import metadata
from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.demo_dataset import write_demo_dataset
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.reader import Sources
from efficientdet_pipeline.runs.folder import run_folder
from efficientdet_pipeline.runs.records import update_json
from tfrmod import archive, convert, download, manifest
from tfrmod.checks import CODES
from tfrmod.errors import DatasetError

FILES_NAMED = 5
DEMO = "demo"
"""The word that stands for the embedded data set in --url_dataset."""


def run(options: Any, read: Sources, hparams: Any) -> None:
    """Converts the photos that the options name."""
    identity = data_identity(options)
    folder = run_folder(options, f"dataset-{identity[:8]}")
    made = make_shards(options, folder.records_path, identity, label_map=hparams.label_map)
    logging.info("Shards and manifest are in %s", folder.records_path)
    update_json(folder.metadata, metadata.of_data(options, made))
    logging.info(
        "Next: python3 main.py --train_file_pattern='%s'%s",
        made.pattern("train"),
        f" --val_file_pattern='{made.pattern('val')}'" if "val" in made.splits else " --mode=train",
    )


def data_identity(options: Any) -> str:
    """Returns what tells these photos from others, as hex digits: a zip's or folder's contents, or an address."""
    place = options.url_dataset or options.data_dir
    if place == DEMO:
        return hashlib.sha256(DEMO.encode()).hexdigest()
    if is_address(place):
        return hashlib.sha256((options.dataset_sha256 or place).encode()).hexdigest()
    path = Path(place).expanduser()
    if path.is_dir():
        return archive.folder_fingerprint(path)
    if not path.exists():
        name = "url_dataset" if options.url_dataset else "data_dir"
        raise MissingError(
            f"{name} must be an address, a zip or a folder. Received {place!r}, where there is nothing"
            f" (looked in {Path.cwd()}). Check the path."
        )
    return archive.zip_fingerprint(path)


def make_shards(options: Any, records: Path, identity: str, *, label_map: Any = None) -> manifest.Manifest:
    """Returns the manifest of the shards in `records`; makes them where they are not there yet."""
    wanted = read_label_map(options.label_map) or label_map
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
        image_size=options.image_size or None if hasattr(options, "image_size") else None,
        dataset=identity,
    )
    made = _made_before(records, conversion)
    if made is not None:
        logging.info("The shards in %s are up to date.", records)
        return made
    photos = _photos(options)
    with _bar("converting", "photo") as show:
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


def _photos(options: Any) -> Path:
    """Returns the folder of the photos, fetched and unpacked where they are not yet."""
    place = options.url_dataset or options.data_dir
    local = Path(place).expanduser()
    cache = cache_folder(options.cache_dir)
    if place == DEMO:
        local = write_demo_dataset(cache / "downloads" / "demo.zip")
    elif local.is_dir():
        return local
    elif is_address(place):
        with _bar(f"fetching {place}", "B") as show:
            local = download.fetch(
                place,
                cache / "downloads",
                sha256=options.dataset_sha256 or None,
                on_progress=show,
                flag="--url_dataset",
            )
    elif options.dataset_sha256:
        _verify(local, options.dataset_sha256)
    if options.url_dataset and options.data_dir:
        target = Path(options.data_dir)
    else:
        target = cache / "datasets" / f"{local.stem}-{archive.zip_fingerprint(local)[:12]}"
    with _bar("unpacking", "B") as show:
        return archive.extract(local, target, on_progress=show)


def _verify(path: Path, expected: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise DatasetError(
            f"{path} must have the sha256 {expected} (--dataset_sha256). Its own is {found}: "
            "it is another file, or a damaged one."
        )


def cache_folder(given: str) -> Path:
    """Returns where downloads are kept."""
    return Path(given).expanduser() if given else Path.home() / ".cache" / "efficientdet-pipeline"


def is_address(place: str) -> bool:
    """Returns whether a place is to be downloaded."""
    return place.lower().startswith(("http://", "https://"))


def read_label_map(given: str) -> dict[int, str] | None:
    """Returns {id: name} from a YAML file or from names separated by commas."""
    if not given:
        return None
    if not given.endswith((".yaml", ".yml", ".json")):
        return {index: name.strip() for index, name in enumerate(given.split(","), start=1)}
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
        logging.warning("%d × %s: %s", problem.total, CODES[code], _few(problem.files))
    if made.problems:
        logging.info("All of it is listed in %s", made.folder / convert.PROBLEMS_FILE)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:FILES_NAMED]) + (" …" if len(names) > FILES_NAMED else "")


class _bar:
    """A progress bar that is handed out as a function (done, total); quiet where nobody watches."""

    def __init__(self, title: str, unit: str):
        self._shown = tqdm(desc=title, unit=unit, unit_scale=unit == "B", leave=False, disable=not is_terminal())

    def __enter__(self) -> Callable[[int, int | None], None]:
        return self._show

    def __exit__(self, *exception: object) -> None:
        self._shown.close()

    def _show(self, done: int, total: int | None) -> None:
        self._shown.total = total
        self._shown.update(done - self._shown.n)
