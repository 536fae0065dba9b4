"""What the training refuses once it knows the data."""

from types import SimpleNamespace

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.trainer import _check_classes, run_config


@pytest.mark.parametrize(("num_classes", "refused"), [(2, True), (3, False), (4, False)])
def test_labels_beyond_num_classes_are_refused(num_classes: int, refused: bool) -> None:
    network = SimpleNamespace(config=SimpleNamespace(num_classes=num_classes, heads=["object_detection"]))
    shards = SimpleNamespace(num_classes=3)
    if refused:
        with pytest.raises(OptionsError, match=r"at least the largest label id of the data, 3\. Received 2"):
            _check_classes(network, shards)
    else:
        _check_classes(network, shards)


def test_one_class_more_than_there_are_is_told() -> None:
    # Users of google/automl give K + 1 out of habit.
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("absl.logging.warning", lambda text, *values: said.append(text % values))
        network = SimpleNamespace(config=SimpleNamespace(num_classes=4, heads=["object_detection"]))
        _check_classes(network, SimpleNamespace(num_classes=3))
    assert said == [
        "num_classes is 4 and the largest label id 3: the background needs no class of its own here, so that one class "
        "will never be seen."
    ]


def test_heads_that_nothing_teaches_are_refused() -> None:
    network = SimpleNamespace(config=SimpleNamespace(num_classes=3, heads=["object_detection", "segmentation"]))
    with pytest.raises(OptionsError, match="heads must be object_detection alone"):
        _check_classes(network, SimpleNamespace(num_classes=3))


@pytest.mark.parametrize(("batch_size", "examples", "match"), [(9, None, "--batch_size=8"), (5, 4, "--batch_size=4")])
def test_a_batch_larger_than_the_data_is_refused(batch_size: int, examples: int | None, match: str) -> None:
    options = TrainOptions(url_dataset="demo", batch_size=batch_size, num_examples_per_epoch=examples)
    with pytest.raises(OptionsError, match=match):
        run_config(options, SimpleNamespace(num_train=8))


def test_there_are_about_ten_evaluations() -> None:
    def every(epochs: int, map_freq: int = 0) -> int:
        options = TrainOptions(url_dataset="demo", num_epochs=epochs, map_freq=map_freq)
        return run_config(options, SimpleNamespace(num_train=80)).evaluate_every

    assert [every(1), every(10), every(50), every(300), every(50, 7)] == [1, 1, 5, 30, 7]


def test_checkpoints_are_made_by_time_by_epochs_or_by_steps() -> None:
    def every(**options: str) -> int:
        given = TrainOptions(url_dataset="demo", batch_size=8, **options)
        return run_config(given, SimpleNamespace(num_train=80)).save_every

    assert [every(), every(save_freq="epoch"), every(save_freq="7")] == [0, 10, 7]
