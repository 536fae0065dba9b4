"""Options of --mode=dataset."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.converters import ConverterOptions
from efficientdet_pipeline.options.dataset import DatasetOptions
from efficientdet_pipeline.options.general import ModeOptions, RunOptions, SeedOptions
from efficientdet_pipeline.options.model import TASKS
from efficientdet_pipeline.options.schema import check, check_choice, flatten, option
from tfrmod.source_formats import task_of_format


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(ModeOptions):
    """Dataset conversion."""

    converter: ConverterOptions
    seed: SeedOptions
    run: RunOptions
    data: DatasetOptions
    task: str = option(
        "",
        "What the shards are for: detection (boxes), segmentation (maps) or classification (the class of the image). "
        "Default: that of source_format, otherwise detection.",
        choices=TASKS,
    )

    @property
    def task_name(self) -> str:
        """Returns the name of the task: as given, otherwise that of the annotation format."""
        return self.task or task_of_format(self.data.images.source_format)

    def without_effect(self) -> dict[str, str]:
        """Returns task if one of google/automl's converters runs, which write boxes."""
        return {"task": "shards of a prefix are written as google/automl does"} if self.task and self.prefix else {}

    @property
    def prefix(self) -> str:
        """Returns the prefix of the shards; empty if a whole dataset is converted to a folder."""
        is_voc_split = self.converter.set or self.converter.year
        return self.converter.output_file_prefix or (self.data.conversion.output_path if is_voc_split else "")

    def __post_init__(self) -> None:
        """Checks that a dataset is given, and that the flags of a converter are complete."""
        super().__post_init__()
        check_choice("task", self.task, TASKS)
        self._check_converter()
        images = self.data.images
        if not (images.url_dataset or images.data_dir or self.converter.image_dir):
            raise OptionsError(
                "No data: url_dataset or data_dir must name annotated images. Received nothing from the command line, "
                "an @file or the environment; try --url_dataset=photos.zip --output_path=shards.",
                option="url_dataset",
            )

    def _check_converter(self) -> None:
        given = self.converter
        if given.set or given.year:
            check(bool(self.prefix), "output_path", "", "given with set or year", "try --output_path=tfrecord/pascal")
        elif given.of_voc:
            name = given.of_voc[0]
            check(False, name, flatten(given)[name], "given with set or year", "try --set=train")
        is_file = bool(self.prefix) and not self.prefix.endswith("/")
        if self.prefix:
            check(is_file, "output_file_prefix", self.prefix, "a folder and a file name prefix", "try shards/train")
        if given.output_file_prefix and not (given.of_coco or given.set or given.year):
            raise OptionsError(
                "output_file_prefix needs a split to convert. Received it alone; add --set or --year (VOC), or "
                "--image_dir and --object_annotations_file (COCO), or give --output_path, a folder.",
                option="output_file_prefix",
            )
