"""What segmentation and classification share: variations of the options, refused hyper-parameters, missing shards."""

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks.class_setup import check_options, data_of, variation_arguments


def test_variation_arguments_are_those_of_the_options() -> None:
    given = {"url_dataset": "demo", "task": "segmentation", "input_rand_hflip": False, "input_rand_vflip": True}
    found = variation_arguments(compose(TrainOptions, **given, max_rotation=7.0, hsv_hue=0.2))
    assert found == {
        **{"horizontal_flip": 0.0, "vertical_flip": 0.5, "rotation": 7.0},
        **{"hsv_hue": 0.2, "hsv_saturation": 0.0, "hsv_value": 0.0},
    }


def test_check_options_names_what_is_of_detectors() -> None:
    given = compose(TrainOptions, url_dataset="demo", task="segmentation")
    check_options(given, HparamsGiven(), "segmentation")
    with pytest.raises(OptionsError, match="Received act_type with the task classification"):
        check_options(given, HparamsGiven(network={"act_type": "relu"}), "classification")
    with pytest.raises(OptionsError, match=r"formats of a segmentation must be .* Received 'onnx_nms'"):
        check_options(compose(TrainOptions, url_dataset="demo", formats="onnx_nms"), HparamsGiven(), "segmentation")


def test_data_of_a_description_is_refused() -> None:
    with pytest.raises(ValueError, match="has no data"):
        data_of(None)
