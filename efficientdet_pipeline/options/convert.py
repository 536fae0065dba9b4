"""Options of --mode=dataset."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.converters import ConverterFlags
from efficientdet_pipeline.options.dataset import DatasetOptions


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(DatasetOptions, ConverterFlags):
    """Dataset conversion."""

    def __post_init__(self) -> None:
        """Checks that a dataset is given."""
        super().__post_init__()
        if not (self.url_dataset or self.data_dir or self.image_dir):
            raise OptionsError(
                "No data: url_dataset or data_dir must name annotated images. Received nothing from the command line, "
                "an @file or the environment; try --url_dataset=photos.zip --output_path=shards.",
                option="url_dataset",
            )
