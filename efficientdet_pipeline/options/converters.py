"""Flags of google/automl's create_pascal_tfrecord.py and create_coco_tfrecord.py."""

import re
from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.general import GeneralOptions, check, check_choice
from efficientdet_pipeline.options.schema import option

SETS = ("train", "val", "trainval", "test")
_OF_VOC = ("set", "year", "annotations_dir", "label_map_json_path")
_OF_COCO = ("image_dir", "object_annotations_file", "image_info_file", "caption_annotations_file")


@dataclass(frozen=True, kw_only=True)
class ConverterFlags(GeneralOptions):
    """google/automl's converters: one split of a dataset to shards with a given prefix."""

    output_file_prefix: str = option("", path="path")
    """Path prefix of the shards, which are named PREFIX-00000-of-00010.tfrecord. Alternatively output_path, with set
    or year."""
    set: str = option("", choices=("", *SETS))
    """VOC: the split (a list in ImageSets/Main) to convert. Default, with year: train."""
    year: str = option("")
    """VOC: VOC2007, VOC2012, or merged for both; the folder below data_dir. Class ids are those of the challenge."""
    annotations_dir: str = option("Annotations", path="path")
    """VOC, with set or year: folder of the XML files."""
    label_map_json_path: str = option("", path="path")
    """VOC, with set or year: JSON file {class name: id} with ids from 1; id 0 is allowed for the background."""
    image_dir: str = option("", path="path")
    """COCO: folder of the images."""
    object_annotations_file: str = option("", path="path")
    """COCO: JSON file of the images in image_dir, their categories and annotations."""
    image_info_file: str = option("", path="path")
    """COCO: JSON file of images without annotations, such as those of test-dev."""
    caption_annotations_file: str = option("", path="path")
    """COCO: ignored; captions are not used in detection."""

    @property
    def prefix(self) -> str:
        """Returns the prefix of the shards; empty if a whole dataset is converted to a folder."""
        of_voc = self.set or self.year
        return self.output_file_prefix or (getattr(self, "output_path", "") if of_voc else "")

    @property
    def years(self) -> tuple[str, ...]:
        """Returns the folders of the selected VOC challenges."""
        return ("VOC2007", "VOC2012") if self.year == "merged" else tuple(filter(None, (self.year,)))

    def __post_init__(self) -> None:
        """Checks that the flags of exactly one converter are given, and are complete."""
        super().__post_init__()
        check_choice("set", self.set, ("", *SETS))
        is_year = re.fullmatch(r"|VOC\d{4}|merged", self.year) is not None
        check(is_year, "year", self.year, "VOC and four digits, or merged", "try VOC2012")
        of_voc = [name for name in _OF_VOC if getattr(self, name) not in ("", "Annotations")]
        of_coco = [name for name in _OF_COCO if getattr(self, name)]
        if of_voc and of_coco:
            raise OptionsError(
                f"{of_voc[0]} belongs to the VOC converter and {of_coco[0]} to the COCO converter. "
                "Received both; give the flags of one.",
                option=of_coco[0],
            )
        if of_coco:
            self._check_coco(of_coco)
        if self.set or self.year:
            check(bool(self.prefix), "output_path", "", "given with set or year", "try --output_path=tfrecord/pascal")
        elif of_voc:
            check(False, of_voc[0], getattr(self, of_voc[0]), "given with set or year", "try --set=train")
        is_file = bool(self.prefix) and not self.prefix.endswith("/")
        if self.prefix:
            check(is_file, "output_file_prefix", self.prefix, "a folder and a file name prefix", "try shards/train")
        if self.output_file_prefix and not (of_coco or self.set or self.year):
            raise OptionsError(
                "output_file_prefix needs a split to convert. Received it alone; add --set or --year (VOC), or "
                "--image_dir and --object_annotations_file (COCO), or give --output_path, a folder.",
                option="output_file_prefix",
            )

    def _check_coco(self, given: list[str]) -> None:
        annotations = self.object_annotations_file or self.image_info_file
        is_enough = self.image_dir and annotations and self.output_file_prefix
        wanted = "--image_dir, --object_annotations_file (or --image_info_file) and --output_file_prefix"
        if not is_enough:
            raise OptionsError(f"The COCO converter needs {wanted}. Received {', '.join(given)}.", option=given[0])
