"""Flags of google/automl's create_pascal_tfrecord.py and create_coco_tfrecord.py."""

import re
from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Options, check, check_choice, option

SETS = ("train", "val", "trainval", "test")
_OF_VOC = ("set", "year", "annotations_dir", "label_map_json_path")
_OF_COCO = ("image_dir", "object_annotations_file", "image_info_file", "caption_annotations_file")


@dataclass(frozen=True, kw_only=True)
class ConverterOptions(Options):
    """google/automl's converters: one split of a dataset to shards with a given prefix."""

    output_file_prefix: str = option(
        "",
        "Path prefix of the shards, which are named PREFIX-00000-of-00010.tfrecord. Alternatively "
        "output_path, with set or year.",
        path="path",
    )
    set: str = option(
        "",
        "VOC: the split (a list in ImageSets/Main) to convert. Default, with year: train.",
        choices=("", *SETS),
    )
    year: str = option(
        "",
        "VOC: VOC2007, VOC2012, or merged for both; the folder below data_dir. Class ids are those of the challenge.",
    )
    annotations_dir: str = option("Annotations", "VOC, with set or year: folder of the XML files.", path="path")
    label_map_json_path: str = option(
        "",
        "VOC, with set or year: JSON file {class name: id} with ids from 1; id 0 is allowed for the background.",
        path="path",
    )
    image_dir: str = option("", "COCO: folder of the images.", path="path")
    object_annotations_file: str = option(
        "",
        "COCO: JSON file of the images in image_dir, their categories and annotations.",
        path="path",
    )
    image_info_file: str = option(
        "",
        "COCO: JSON file of images without annotations, such as those of test-dev.",
        path="path",
    )
    caption_annotations_file: str = option("", "COCO: ignored; captions are not used in detection.", path="path")

    @property
    def years(self) -> tuple[str, ...]:
        """Returns the folders of the selected VOC challenges."""
        return ("VOC2007", "VOC2012") if self.year == "merged" else tuple(filter(None, (self.year,)))

    def __post_init__(self) -> None:
        """Checks the values, and that the flags of one converter are given."""
        super().__post_init__()
        check_choice("set", self.set, ("", *SETS))
        is_year = re.fullmatch(r"|VOC\d{4}|merged", self.year) is not None
        check(is_year, "year", self.year, "VOC and four digits, or merged", "try VOC2012")
        if self.of_voc and self.of_coco:
            raise OptionsError(
                f"{self.of_voc[0]} belongs to the VOC converter and {self.of_coco[0]} to the COCO converter. "
                "Received both; give the flags of one.",
                option=self.of_coco[0],
            )
        if self.of_coco:
            self._check_coco(self.of_coco)

    @property
    def of_voc(self) -> list[str]:
        """Returns the options of the VOC converter that are given."""
        return [name for name in _OF_VOC if getattr(self, name) not in ("", "Annotations")]

    @property
    def of_coco(self) -> list[str]:
        """Returns the options of the COCO converter that are given."""
        return [name for name in _OF_COCO if getattr(self, name)]

    def _check_coco(self, given: list[str]) -> None:
        annotations = self.object_annotations_file or self.image_info_file
        is_enough = self.image_dir and annotations and self.output_file_prefix
        wanted = "--image_dir, --object_annotations_file (or --image_info_file) and --output_file_prefix"
        if not is_enough:
            raise OptionsError(f"The COCO converter needs {wanted}. Received {', '.join(given)}.", option=given[0])
