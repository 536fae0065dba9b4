"""Dataset preparation: download and extraction of images."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.dataset import DEMO, ConversionOptions, ImageOptions
from efficientdet_pipeline.options.label_map import read_label_aliases
from efficientdet_pipeline.system import cache_folder
from tfrmod import archive, download, fileio
from tfrmod.errors import DatasetError
from tfrmod.urls import redact_url
from tfrmod.workers import Executor

"""Value of --url_dataset for the embedded data set."""


def data_identity(options: ImageOptions, workspace: str) -> str:
    """Returns an identifier of the images, as hex digits: from the contents of a zip or folder, or from a URL."""
    place = options.url_dataset or options.data_dir
    _refuse_hash_of_no_file(options.dataset_sha256, place)
    if options.url_dataset and options.data_dir and archive.marked_fingerprint(Path(options.data_dir)) is not None:
        # The shards are those of the archive: edits would be ignored, or replaced by a newer archive.
        archive.check_unedited(
            Path(options.data_dir),
            f"To use it as it is now, set --data_dir={options.data_dir} without --url_dataset; to unpack the archive, "
            "choose another --data_dir.",
        )
    if place == DEMO:
        return hashlib.sha256(DEMO.encode()).hexdigest()
    if is_address(place):
        return hashlib.sha256((options.dataset_sha256 or place).encode()).hexdigest()
    path = Path(place).expanduser()
    if path.is_dir():
        # The runs may be among the images; the files that they write must not change the identity of the data.
        return archive.folder_fingerprint(path, leave_out=Path(workspace))
    if not path.exists():
        name = "url_dataset" if options.url_dataset else "data_dir"
        raise MissingError(
            f"{name} must be a URL, a zip or a folder. Received {place!r}, which does not exist"
            f" (in {Path.cwd()}). Check the path."
        )
    return archive.zip_fingerprint(path)


def prepare_images(options: ImageOptions) -> Path:
    """Returns the folder of the images, after downloading and extracting them if needed."""
    place = options.url_dataset or options.data_dir
    _refuse_hash_of_no_file(options.dataset_sha256, place)
    local = Path(place).expanduser()
    cache = cache_folder(options.cache_dir)
    if place == DEMO:
        from efficientdet_pipeline.demo_dataset import write_demo_dataset  # The import needs OpenCV.

        local = write_demo_dataset(cache / "downloads" / "demo.zip")
    elif local.is_dir():
        return local
    elif is_address(place):
        with ProgressBar(f"downloading {redact_url(place)}", "B") as show:
            local = download.fetch(
                place,
                cache / "downloads",
                sha256=options.dataset_sha256 or None,
                on_progress=show,
                flag="--url_dataset",
                is_zip=True,
            )
    elif options.dataset_sha256:
        _verify(local, options.dataset_sha256)
    target = Path(options.data_dir) if options.url_dataset and options.data_dir else None
    try:
        target = target or cache / "datasets" / f"{local.stem}-{archive.zip_fingerprint(local)[:12]}"
        with ProgressBar("unpacking", "B") as show:
            return archive.extract(local, target, on_progress=show)
    except archive.DamagedArchiveError:
        if is_address(place):
            download.forget(local)  # Otherwise the next call would find the same damaged file again.
        raise


def _refuse_hash_of_no_file(sha256: str, place: str) -> None:
    if sha256 and (place == DEMO or Path(place).is_dir()):
        raise OptionsError(
            f"dataset_sha256 is the hash of a zip file. Received it with {place!r}, which is not a zip, so that it "
            "cannot be compared; leave it out, or use the zip.",
            option="dataset_sha256",
        )


def _verify(path: Path, expected: str) -> None:
    found = fileio.sha256_of(path)
    if found != expected.lower():
        raise DatasetError(
            f"{path} must have the sha256 {expected} (--dataset_sha256). Received {found}: "
            "it is another file, or a damaged one."
        )


def is_address(place: str) -> bool:
    """Returns whether a location is a URL."""
    return place.lower().startswith(("http://", "https://"))


class ProgressBar:
    """A progress bar as a function (done, total); silent without a terminal."""

    def __init__(self, title: str, unit: str):
        self._shown = tqdm(desc=title, unit=unit, unit_scale=unit == "B", leave=False, disable=not is_terminal())

    def __enter__(self) -> Callable[[int, int | None], None]:
        return self._show

    def __exit__(self, *exception: object) -> None:
        self._shown.close()

    def _show(self, done: int, total: int | None) -> None:
        self._shown.total = total
        self._shown.update(done - self._shown.n)


class ImageArguments(TypedDict):
    """Arguments of `tfrmod.convert_options.ConvertOptions` that images and splits give."""

    label_aliases: Mapping[str, str] | None
    source_format: str | None
    train_set: str | None
    val_set: str | None
    train_valid_split: float
    test_split: float
    group_near_duplicates: bool
    seed: int


def image_summary(options: ImageOptions, seed: int) -> ImageArguments:
    """Returns the arguments of `tfrmod.convert_options.ConvertOptions` that images and splits give.

    Raises:
      OptionsError, MissingError: the aliases cannot be read.
    """
    return {
        "label_aliases": read_label_aliases(options.label_aliases),
        "source_format": options.source_format or None,
        "train_set": options.train_set or None,
        "val_set": options.val_set or None,
        "train_valid_split": options.train_valid_split,
        "test_split": options.test_split,
        "group_near_duplicates": options.group_near_duplicates,
        "seed": seed,
    }


def beam_runner(options: ConversionOptions, shared: Path) -> Executor | None:
    """Returns the executor for a distributed conversion; None for this machine.

    Args:
      options: of the conversion.
      shared: a location near the shards that all machines can access.

    Raises:
      OptionsError: Beam is not installed, or the runner is unknown.
    """
    if not options.runner:
        return None
    from tfrmod.beam import BeamWorkers

    try:
        return BeamWorkers(options.runner, options.beam_options, shared)
    except ValueError as error:
        raise OptionsError(f"{error}.", option="runner") from None
