"""Tests of the warning of options without effect."""

import pytest

from efficientdet_pipeline.options.schema import compose, declarations
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks.idle_options import (
    OF_CLASS_NETWORKS,
    OF_DETECTORS,
    OF_SEGMENTATION,
    log_frozen_random_weights,
    log_idle_options,
)


def test_log_idle_options_names_those_that_were_given(caplog: pytest.LogCaptureFixture) -> None:
    given = compose(TrainOptions, url_dataset="demo", task="segmentation", mosaic=0.5, scse=True)
    log_idle_options(given, "segmentation", (*OF_DETECTORS, "scse"))
    assert "No effect on segmentation: --mosaic, --scse." in caplog.text
    caplog.clear()
    log_idle_options(given, "segmentation", ("mixup", *OF_CLASS_NETWORKS))
    assert not caplog.text


def test_log_frozen_random_weights_says_that_nothing_trains_them(caplog: pytest.LogCaptureFixture) -> None:
    log_frozen_random_weights(compose(TrainOptions, url_dataset="demo"))
    assert not caplog.text
    log_frozen_random_weights(compose(TrainOptions, url_dataset="demo", freeze_backbone_epochs=3))
    assert "--freeze_backbone_epochs=3 does not train them" in caplog.text


def test_idle_options_are_fields_of_a_training() -> None:
    names = [*OF_DETECTORS, *OF_SEGMENTATION, *OF_CLASS_NETWORKS]
    assert set(names) <= set(declarations(TrainOptions))
    assert len(names) == len(set(names))
