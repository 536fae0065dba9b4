"""Options that turn annotated photos into shards."""

import os
from dataclasses import dataclass

from efficientdet_pipeline.options.general import RunOptions, SeedOptions, check, check_choice
from efficientdet_pipeline.options.schema import option

# The names of tfrmod's sources, which are not imported here: --help is to be quick.
SOURCE_FORMATS = ("", "voc", "coco", "yolo", "cvat", "labelme", "via", "createml", "csv", "masks", "photos")


DEMO = "demo"
"""The value of --url_dataset that names the embedded data set."""


@dataclass(frozen=True, kw_only=True)
class ImageSourceOptions(SeedOptions):
    """The photos, and how they are divided."""

    url_dataset: str = option("", path="path")
    """The annotated photos: http(s) address of a zip, a local zip, a folder, or `demo` for the embedded data set."""
    dataset_sha256: str = option("")
    """Expected sha256 of the zip; a download that differs is refused."""
    cache_dir: str = option("", path="path")
    """Where downloads are kept, checkpoints in its folder checkpoints; default `~/.cache/efficientdet-pipeline`, and
    `~/.cache/efficientdet` for checkpoints."""
    data_dir: str = option("", path="path")
    """Folder of the photos and XML files. With url_dataset: where the zip is unpacked (default: in the cache)."""
    source_format: str = option("", choices=SOURCE_FORMATS, shapes=True)
    """The format of the annotations; default: found by looking."""
    label_map: str = option("", shapes=True, path="path")
    """YAML or JSON file {id: name}, TensorFlow .pbtxt, text file of one name a line, names separated by commas, or
    coco, voc, waymo; default: the data set's own ids, or all names found, sorted."""
    label_aliases: str = option("", shapes=True, path="path")
    """Other spellings of classes, variant=name separated by commas (`redcell=RBC,rbc=RBC`), or a YAML file of them."""
    train_set: str = option("", shapes=True)
    """The data's own list to train on (ImageSets, COCO's files); default trainval beside test, else train."""
    val_set: str = option("", shapes=True)
    """The data's own list to validate on; default test beside trainval, else val, else test."""
    train_valid_split: float = option(0.8, shapes=True)
    """Share of the photos to train on where the data brings no lists; the rest validates."""
    test_split: float = option(0.0, shapes=True)
    """Share of the photos set aside as test photos; it is taken from what training leaves over."""
    group_near_duplicates: bool = option(True, shapes=True)
    """Keep images that look alike and show the same objects in one split; false keeps only equal files together."""
    num_workers: int = option(0, aliases=("num_threads",))
    """Processes that read photos; 0 takes one a core."""

    def without_effect(self) -> dict[str, str]:
        """Returns data_dir where url_dataset is a folder, of which nothing is unpacked."""
        is_folder = bool(self.url_dataset) and os.path.isdir(self.url_dataset)
        found = {"data_dir": "url_dataset is a folder, and nothing is unpacked"} if is_folder else {}
        return super().without_effect() | found

    def __post_init__(self) -> None:
        """Checks the shares and counts."""
        super().__post_init__()
        split, rest = self.train_valid_split, self.test_split
        check(0.0 < split <= 1.0, "train_valid_split", split, "above 0 and at most 1", "0.8 trains on 80 %")
        most = round(1.0 - split, 6)
        check(0.0 <= rest <= most, "test_split", rest, f"between 0 and what training leaves ({most:g})", "try 0.1")
        check_choice("source_format", self.source_format, SOURCE_FORMATS)
        check(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more", "0 takes one a core")
        digits = self.dataset_sha256.lower()
        is_hash = not digits or (len(digits) == 64 and set(digits) <= set("0123456789abcdef"))
        check(
            is_hash, "dataset_sha256", self.dataset_sha256, "64 hexadecimal digits", "`sha256sum photos.zip` prints it"
        )


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(RunOptions, ImageSourceOptions):
    """Photos in, shards out."""

    overwrite: bool = option(False, from_environment=False)
    """Begin the run anew: delete what it made in its folder first; refused where the folder holds anything else. Never
    taken from the environment."""
    output_path: str = option("", path="path")
    """Where the shards go; default: tfrecords in the run's folder."""
    path_metadata: str = option("", path="path")
    """Folder of metadata.json; default: the run's folder."""
    num_shards: int = option(-1)
    """Shards a split; -1 decides by the number of photos."""
    prepare_size: int = option(0, shapes=True)
    """Make photos with a longer side than so many pixels smaller, once, and boxes and masks with them; 0: none."""
    no_verify: bool = option(False, shapes=True)
    """Take photos that need no change over by their header alone, undecoded: quicker, but damage is found later."""
    include_masks: bool = option(False, shapes=True)
    """Write the masks of the data set into the records."""
    strict: bool = option(False)
    """Make any problem in the data fatal, instead of leaving the photo or box out and listing it."""
    num_images: int = option(0, shapes=True)
    """Convert so many photos only, from the beginning of the list; 0 takes all."""
    ignore_difficult_instances: bool = option(False, shapes=True)
    """Leave out objects that the annotation calls difficult."""
    runner: str = option("")
    """Spread the conversion by Apache Beam: its runner, such as DirectRunner or FlinkRunner; default: this machine."""
    beam_options: str = option("")
    """Beam's own flags for the runner, in one string: "--project=… --region=…"."""

    def __post_init__(self) -> None:
        """Checks the numbers of shards and photos, and that Beam's flags have a runner."""
        super().__post_init__()
        check(self.prepare_size >= 0, "prepare_size", self.prepare_size, "0 or more pixels", "try 1024, or 0 for none")
        check(self.num_images >= 0, "num_images", self.num_images, "0 or more", "0 takes all")
        has_runner = bool(self.runner) or not self.beam_options
        check(has_runner, "beam_options", self.beam_options, "given with runner", "try --runner=DirectRunner")
        check(self.num_shards == -1 or self.num_shards > 0, "num_shards", self.num_shards, "-1 or above 0", "try -1")
