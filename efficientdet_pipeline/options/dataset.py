"""Options of dataset conversion: annotated images to TFRecord shards."""

import os
from dataclasses import dataclass

from efficientdet_pipeline.options.schema import Options, check, check_choice, option
from tfrmod.source_formats import BOXES, CLASSES, MAPS

SOURCE_FORMATS = ("", *BOXES, *MAPS, *CLASSES)

DEMO = "demo"
"""Value of --url_dataset that selects the embedded dataset."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Options):
    """Dataset and splits."""

    url_dataset: str = option(
        "",
        "The annotated images: URL of a zip (http or https), a local zip, a folder, or `demo` for the "
        "embedded dataset.",
        path="path",
    )
    dataset_sha256: str = option("", "Expected SHA-256 of the zip; a download with another checksum is rejected.")
    cache_dir: str = option(
        "",
        "Folder for downloads; checkpoints are cached in its subfolder checkpoints. Default: "
        "`~/.cache/efficientdet-pipeline`, and `~/.cache/efficientdet` for checkpoints.",
        path="path",
    )
    data_dir: str = option(
        "",
        "Folder of the images and annotations. With url_dataset: folder to extract the zip to. Default: a "
        "subfolder of the cache.",
        path="path",
    )
    source_format: str = option(
        "",
        "Annotation format. Default: detected from the files.",
        choices=SOURCE_FORMATS,
        shapes=True,
    )
    label_map: str = option(
        "",
        "Label map: a YAML or JSON file {id: name}, a TensorFlow .pbtxt, a text file with one name per line, "
        "comma-separated names, or coco, voc or waymo. Default: the ids of the dataset, otherwise all class "
        "names found, sorted.",
        shapes=True,
        path="path",
    )
    label_aliases: str = option(
        "",
        "Alternative spellings of class names: comma-separated variant=name pairs (`redcell=RBC,rbc=RBC`), or "
        "a YAML file of them.",
        shapes=True,
        path="path",
    )
    train_set: str = option(
        "",
        "Name of the dataset's own split to train on (ImageSets, COCO files). Default: trainval if there is a "
        "test split, otherwise train.",
        shapes=True,
    )
    val_set: str = option(
        "",
        "Name of the dataset's own split to evaluate on. Default: test if there is trainval, otherwise val, "
        "otherwise test.",
        shapes=True,
    )
    train_valid_split: float = option(
        0.8,
        "Fraction of the images used for training, above 0 and at most 1, if the dataset has no splits of its "
        "own; the remainder is used for validation.",
        shapes=True,
    )
    test_split: float = option(
        0.0,
        "Fraction of the images held out as a test split, taken from those not used for training.",
        shapes=True,
    )
    group_near_duplicates: bool = option(
        True,
        "Keep near-duplicate images (similar appearance and the same objects) in the same split. false: only "
        "identical files are kept together.",
        shapes=True,
    )
    num_workers: int = option(
        0,
        "Number of worker processes that read images. 0: one per CPU core.",
        aliases=("num_threads",),
    )

    def without_effect(self) -> dict[str, str]:
        """Returns data_dir if url_dataset is a folder, because nothing is extracted then."""
        is_folder = bool(self.url_dataset) and os.path.isdir(self.url_dataset)
        return {"data_dir": "url_dataset is a folder, and nothing is extracted"} if is_folder else {}

    def __post_init__(self) -> None:
        """Checks the fractions and counts."""
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
class ConversionOptions(Options):
    """Conversion to TFRecord shards."""

    overwrite: bool = option(
        False,
        "Restart the run: delete its previous outputs from its folder first. Rejected if the folder contains "
        "other files. Never read from the environment.",
        from_environment=False,
    )
    output_path: str = option("", "Folder for the shards. Default: tfrecords in the run's folder.", path="path")
    path_metadata: str = option("", "Folder for metadata.json. Default: the run's folder.", path="path")
    num_shards: int = option(-1, "Number of shards per split. -1: chosen by the number of images.")
    prepare_size: int = option(
        0,
        "Maximum length in pixels of an image's longer side; larger images are downscaled once, at "
        "conversion, with their boxes and masks. 0: no downscaling.",
        shapes=True,
    )
    no_verify: bool = option(
        False,
        "Do not decode images that need no change; read only their headers and ends. Faster, but files damaged inside "
        "are kept: training warns of a JPEG whose data end early, and stops at an image that cannot be decoded.",
        shapes=True,
    )
    include_masks: bool = option(False, "Write the instance masks of the dataset to the records.", shapes=True)
    strict: bool = option(
        False,
        "Treat any problem in the dataset as an error instead of skipping the image or box and listing it.",
    )
    num_images: int = option(0, "Convert only the first num_images images. 0: all.", shapes=True)
    ignore_difficult_instances: bool = option(False, "Exclude objects annotated as difficult.", shapes=True)
    runner: str = option(
        "",
        "Apache Beam runner for a distributed conversion, such as DirectRunner or FlinkRunner. Default: "
        "convert on this machine without Beam.",
    )
    beam_options: str = option("", 'Options passed to the Beam runner, as one string: "--project=… --region=…".')

    def __post_init__(self) -> None:
        """Checks the numbers of shards and images, and that Beam options have a runner."""
        super().__post_init__()
        check(self.prepare_size >= 0, "prepare_size", self.prepare_size, "0 or more pixels", "try 1024, or 0 for none")
        check(self.num_images >= 0, "num_images", self.num_images, "0 or more", "0 takes all")
        has_runner = bool(self.runner) or not self.beam_options
        check(has_runner, "beam_options", self.beam_options, "given with runner", "try --runner=DirectRunner")
        check(self.num_shards == -1 or self.num_shards > 0, "num_shards", self.num_shards, "-1 or above 0", "try -1")


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(Options):
    """Images and their conversion."""

    images: ImageOptions
    conversion: ConversionOptions
