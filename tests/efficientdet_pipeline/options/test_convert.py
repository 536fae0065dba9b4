"""Options of --mode=dataset: what the shards are for."""

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.convert import ConvertOptions
from efficientdet_pipeline.options.dataset import SOURCE_FORMATS
from efficientdet_pipeline.options.schema import compose


@pytest.mark.parametrize("source_format", SOURCE_FORMATS)
def test_convert_options_take_the_task_of_the_annotation_format(source_format: str) -> None:
    of_maps = ("semantic_masks", "semantic_voc", "semantic_coco", "ade20k", "cityscapes")
    expected = dict.fromkeys(of_maps, "segmentation") | dict.fromkeys(("class_folders", "class_csv"), "classification")
    options = compose(ConvertOptions, url_dataset="images.zip", source_format=source_format)
    assert options.task_name == expected.get(source_format, "detection")
    assert compose(ConvertOptions, url_dataset="images.zip", task="segmentation").task_name == "segmentation"


def test_convert_options_refuse_an_unknown_task() -> None:
    with pytest.raises(OptionsError, match="task must be one of"):
        compose(ConvertOptions, url_dataset="images.zip", task="segment")


def test_convert_options_say_that_converters_of_automl_write_boxes() -> None:
    options = compose(ConvertOptions, data_dir="VOCdevkit", task="segmentation", set="train", output_path="shards/voc")
    assert "task" in options.without_effect()
