"""Trainer: checks of the options against the data."""

from types import SimpleNamespace

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.trainer import _check_classes, build_run_config


@pytest.mark.parametrize(("num_classes", "refused"), [(2, True), (3, False), (4, False)])
def test_check_classes_rejects_labels_beyond_num_classes(num_classes: int, refused: bool) -> None:
    network = SimpleNamespace(config=SimpleNamespace(num_classes=num_classes, heads=["object_detection"]))
    shards = SimpleNamespace(num_classes=3)
    if refused:
        with pytest.raises(OptionsError, match=r"at least the largest label id of the data, 3\. Received 2"):
            _check_classes(network, shards)
    else:
        _check_classes(network, shards)


def test_check_classes_warns_of_a_background_class() -> None:
    # Users of google/automl give K + 1 out of habit.
    logged: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("absl.logging.warning", lambda text, *values: logged.append(text % values))
        network = SimpleNamespace(config=SimpleNamespace(num_classes=4, heads=["object_detection"]))
        _check_classes(network, SimpleNamespace(num_classes=3))
    assert logged == [
        "num_classes is 4 and the largest label id 3. Background is not a class here; class 4 will have no examples."
    ]


def test_check_classes_rejects_heads_without_training_data() -> None:
    network = SimpleNamespace(config=SimpleNamespace(num_classes=3, heads=["object_detection", "segmentation"]))
    with pytest.raises(OptionsError, match="heads must be object_detection only"):
        _check_classes(network, SimpleNamespace(num_classes=3))


@pytest.mark.parametrize(("batch_size", "examples", "match"), [(9, None, "--batch_size=8"), (5, 4, "--batch_size=4")])
def test_build_run_config_rejects_a_batch_larger_than_the_data(
    batch_size: int, examples: int | None, match: str
) -> None:
    options = compose(TrainOptions, url_dataset="demo", batch_size=batch_size, num_examples_per_epoch=examples)
    with pytest.raises(OptionsError, match=match):
        build_run_config(options, SimpleNamespace(num_train=8))


def test_build_run_config_plans_about_ten_evaluations() -> None:
    def every(epochs: int, map_freq: int = 0) -> int:
        options = compose(TrainOptions, url_dataset="demo", num_epochs=epochs, map_freq=map_freq)
        return build_run_config(options, SimpleNamespace(num_train=80)).evaluate_every

    assert [every(1), every(10), every(50), every(300), every(50, 7)] == [1, 1, 5, 30, 7]


def test_build_run_config_saves_by_time_by_epochs_or_by_steps() -> None:
    def every(**options: str) -> int:
        given = compose(TrainOptions, url_dataset="demo", batch_size=8, **options)
        return build_run_config(given, SimpleNamespace(num_train=80)).save_every

    assert [every(), every(save_freq="epoch"), every(save_freq="7")] == [0, 10, 7]
