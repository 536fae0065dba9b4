"""Options of --mode=doctor."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.dataset import ImageOptions
from efficientdet_pipeline.options.general import ModeOptions, SeedOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import check, option


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(ModeOptions):
    """Dataset checks and fixes."""

    model: ModelOptions
    seed: SeedOptions
    images: ImageOptions

    train_file_pattern: str = option("", "Glob of training shards to check, instead of images.", path="globs")
    val_file_pattern: str = option("", "Glob of validation shards to check.", path="globs")
    run_dir: str = option(
        "",
        "Folder of a trained run to analyze: its shards, its losses, and its detector's predictions on the images.",
        path="path",
    )
    detect_photos: int = option(
        200,
        "With run_dir: number of images per split on which the detector searches for label errors. 0: none.",
    )
    max_instances_per_image: int | None = option(
        None,
        "Maximum number of boxes per image. Default: the largest number in the dataset.",
    )
    fix: str = option(
        "",
        "Folder for a fixed copy of the dataset in Pascal VOC format; the original is never modified. Never "
        "read from the environment.",
        path="path",
        from_environment=False,
    )
    report: str = option(
        "doctor.json",
        "JSON file for all issues with every affected file, written if the printed report cannot list all of "
        "them. Empty: none.",
        path="path",
    )
    json: bool = option(
        False,
        "Print the issues as JSON. In either format the exit code is 0 if there are none, 3 for warnings and "
        "65 for errors.",
    )

    def __post_init__(self) -> None:
        """Checks that exactly one dataset, set of shards or run is given."""
        super().__post_init__()
        check(self.detect_photos >= 0, "detect_photos", self.detect_photos, "0 or more", "try 200")
        most = self.max_instances_per_image
        check(most is None or most >= 1, "max_instances_per_image", most, "at least 1", "leave it out")
        photos = self.images.url_dataset or self.images.data_dir
        records = self.train_file_pattern or self.val_file_pattern
        given = [place for place in (photos, records, self.run_dir) if place]
        received = " and ".join(map(repr, given)) or "nothing"
        if len(given) != 1:
            raise OptionsError(
                "The doctor checks images (url_dataset or data_dir), shards (train_file_pattern, "
                f"val_file_pattern) or a trained run (run_dir). Received {received}; give "
                "one of them, for example --url_dataset=photos.zip.",
                option="url_dataset",
            )
        if self.model.task_name != "detection":
            raise OptionsError(
                f"The doctor checks data sets of detection. Received the task {self.model.task_name}; "
                f"--mode=dataset --task={self.model.task_name} lists what is wrong with the images in problems.jsonl.",
                option="task",
            )
        if self.fix and not photos:
            raise OptionsError(
                f"fix writes a fixed copy of images and annotations. Received fix={self.fix!r} with {given[0]!r}, "
                "which are shards; give the images by --url_dataset or --data_dir.",
                option="fix",
            )
