"""Trainer: checks of the options against the data."""

import pytest

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.trainer import build_run_config


def shards(num_train: int) -> Shards:
    return Shards(train=(), val=(), num_train=num_train, num_classes=1, label_map={1: "cat"}, max_instances=1)


@pytest.mark.parametrize(("batch_size", "examples", "match"), [(9, None, "--batch_size=8"), (5, 4, "--batch_size=4")])
def test_build_run_config_rejects_a_batch_larger_than_the_data(
    batch_size: int, examples: int | None, match: str
) -> None:
    options = compose(TrainOptions, url_dataset="demo", batch_size=batch_size, num_examples_per_epoch=examples)
    with pytest.raises(OptionsError, match=match):
        build_run_config(options, shards(8))


def test_build_run_config_plans_about_ten_evaluations() -> None:
    def every(epochs: int, map_freq: int = 0) -> int:
        options = compose(TrainOptions, url_dataset="demo", num_epochs=epochs, map_freq=map_freq)
        return build_run_config(options, shards(80)).evaluate_every

    assert [every(1), every(10), every(50), every(300), every(50, 7)] == [1, 1, 5, 30, 7]


def test_build_run_config_saves_by_time_by_epochs_or_by_steps() -> None:
    def every(**options: str) -> int:
        given = compose(TrainOptions, url_dataset="demo", batch_size=8, **options)
        return build_run_config(given, shards(80)).save_every

    assert [every(), every(save_freq="epoch"), every(save_freq="7")] == [0, 10, 7]
