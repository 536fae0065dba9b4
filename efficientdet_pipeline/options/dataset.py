"""Options of dataset conversion: annotated images to TFRecord shards."""

import os
from dataclasses import dataclass

from efficientdet_pipeline.options.general import RunOptions, SeedOptions, check, check_choice
from efficientdet_pipeline.options.schema import option

# The names of tfrmod's sources, which are not imported here to keep --help fast.
SOURCE_FORMATS = ("", "voc", "coco", "yolo", "cvat", "labelme", "via", "createml", "csv", "masks", "photos")


DEMO = "demo"
"""Value of --url_dataset that selects the embedded dataset."""


@dataclass(frozen=True, kw_only=True)
class ImageSourceOptions(SeedOptions):
    """Dataset and splits."""

    url_dataset: str = option("", path="path")
    """The annotated images: URL of a zip (http or https), a local zip, a folder, or `demo` for the embedded dataset."""
    dataset_sha256: str = option("")
    """Expected SHA-256 of the zip; a download with another checksum is rejected."""
    cache_dir: str = option("", path="path")
    """Folder for downloads; checkpoints are cached in its subfolder checkpoints. Default:
    `~/.cache/efficientdet-pipeline`, and `~/.cache/efficientdet` for checkpoints."""
    data_dir: str = option("", path="path")
    """Folder of the images and annotations. With url_dataset: folder to extract the zip to. Default: a subfolder of
    the cache."""
    source_format: str = option("", choices=SOURCE_FORMATS, shapes=True)
    """Annotation format. Default: detected from the files."""
    label_map: str = option("", shapes=True, path="path")
    """Label map: a YAML or JSON file {id: name}, a TensorFlow .pbtxt, a text file with one name per line,
    comma-separated names, or coco, voc or waymo. Default: the ids of the dataset, otherwise all class names found,
    sorted."""
    label_aliases: str = option("", shapes=True, path="path")
    """Alternative spellings of class names: comma-separated variant=name pairs (`redcell=RBC,rbc=RBC`), or a YAML file
    of them."""
    train_set: str = option("", shapes=True)
    """Name of the dataset's own split to train on (ImageSets, COCO files). Default: trainval if there is a test split,
    otherwise train."""
    val_set: str = option("", shapes=True)
    """Name of the dataset's own split to evaluate on. Default: test if there is trainval, otherwise val, otherwise
    test."""
    train_valid_split: float = option(0.8, shapes=True)
    """Fraction of the images used for training, above 0 and at most 1, if the dataset has no splits of its own; the
    remainder is used for validation."""
    test_split: float = option(0.0, shapes=True)
    """Fraction of the images held out as a test split, taken from those not used for training."""
    group_near_duplicates: bool = option(True, shapes=True)
    """Keep near-duplicate images (similar appearance and the same objects) in the same split. false: only identical
    files are kept together."""
    num_workers: int = option(0, aliases=("num_threads",))
    """Number of worker processes that read images. 0: one per CPU core."""

    def without_effect(self) -> dict[str, str]:
        """Returns data_dir if url_dataset is a folder, since nothing is extracted then."""
        is_folder = bool(self.url_dataset) and os.path.isdir(self.url_dataset)
        found = {"data_dir": "url_dataset is a folder, and nothing is extracted"} if is_folder else {}
        return super().without_effect() | found

    def __post_init__(self) -> None:
        """Checks the shares and counts."""
        super().__post_init__()
        split, rest = self.train_valid_split, self.test_split
        check(0.0 < split <= 1.0, "train_valid_split", split, "above 0 and at most 1", "0.8 trains on 80 %")
        most = round(1.0 - split, 6)
        check(0.0 <= rest <= most, "test_split", rest, f"between 0 and what training leaves ({most:g})", "try 0.1")
        check_choice("source_format", self.source_format, SOURCE_FORMATS)
        check(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more", "0 uses one per CPU core")
        digits = self.dataset_sha256.lower()
        is_hash = not digits or (len(digits) == 64 and set(digits) <= set("0123456789abcdef"))
        check(
            is_hash, "dataset_sha256", self.dataset_sha256, "64 hexadecimal digits", "`sha256sum photos.zip` prints it"
        )


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(RunOptions, ImageSourceOptions):
    """Conversion to TFRecord shards."""

    overwrite: bool = option(False, from_environment=False)
    """Restart the run: delete its previous outputs from its folder first. Rejected if the folder contains other files.
    Never read from the environment."""
    output_path: str = option("", path="path")
    """Folder for the shards. Default: tfrecords in the run's folder."""
    path_metadata: str = option("", path="path")
    """Folder for metadata.json. Default: the run's folder."""
    num_shards: int = option(-1)
    """Number of shards per split. -1: chosen by the number of images."""
    prepare_size: int = option(0, shapes=True)
    """Maximum length in pixels of an image's longer side; larger images are downscaled once, at conversion, with their
    boxes and masks. 0: no downscaling."""
    no_verify: bool = option(False, shapes=True)
    """Do not decode images that need no change; read only their headers. Faster, but damaged images are found only
    during training."""
    include_masks: bool = option(False, shapes=True)
    """Write the instance masks of the dataset to the records."""
    strict: bool = option(False)
    """Treat any problem in the dataset as an error instead of skipping the image or box and listing it."""
    num_images: int = option(0, shapes=True)
    """Convert only the first num_images images. 0: all."""
    ignore_difficult_instances: bool = option(False, shapes=True)
    """Exclude objects annotated as difficult."""
    runner: str = option("")
    """Apache Beam runner for a distributed conversion, such as DirectRunner or FlinkRunner. Default: convert on this
    machine without Beam."""
    beam_options: str = option("")
    """Options passed to the Beam runner, as one string: "--project=… --region=…"."""

    def __post_init__(self) -> None:
        """Checks the numbers of shards and images, and that Beam's options have a runner."""
        super().__post_init__()
        check(self.prepare_size >= 0, "prepare_size", self.prepare_size, "0 or more pixels", "try 1024, or 0 for none")
        check(self.num_images >= 0, "num_images", self.num_images, "0 or more", "0 takes all")
        has_runner = bool(self.runner) or not self.beam_options
        check(has_runner, "beam_options", self.beam_options, "given with runner", "try --runner=DirectRunner")
        check(self.num_shards == -1 or self.num_shards > 0, "num_shards", self.num_shards, "-1 or above 0", "try -1")
