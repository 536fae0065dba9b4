"""Search spaces: allowed options and ranges, and errors for others."""

from pathlib import Path

import pytest

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.tune import TuneOptions
from efficientdet_pipeline.tuning.search_space import Parameter, check_values, read_space

optuna = pytest.importorskip("optuna", reason="optuna is not installed: pip install 'efficientdet-pipeline[tune]'")
SPACE = """
learning_rate: {low: 1e-4, high: 1e-1, log: true}
batch_size: {low: 4, high: 16, step: 4}
weight_decay: {low: 0, high: 0.001}
optimizer: [sgd, adam]
mosaic: [0, 0.5]
hparams.box_class_repeats: [1, 3]
hparams.nms_configs.sigma: {low: 0.3, high: 0.7}
"""


def read(tmp_path: Path, text: str) -> tuple[Parameter, ...]:
    (tmp_path / "space.yaml").write_text(text)
    return read_space(tmp_path / "space.yaml")


def test_read_space_takes_ranges_and_choices(tmp_path: Path) -> None:
    found = {each.name: each for each in read(tmp_path, SPACE)}
    assert list(found) == [line.partition(":")[0] for line in SPACE.strip().splitlines()]
    assert (found["learning_rate"].low, found["learning_rate"].high, found["learning_rate"].log) == (1e-4, 0.1, True)
    assert found["batch_size"].is_whole
    assert not found["weight_decay"].is_whole
    assert found["mosaic"].choices == (0.0, 0.5)
    fixed = {"learning_rate": 0.02, "batch_size": 8, "optimizer": "sgd", "hparams.box_class_repeats": 3}
    trial = optuna.trial.FixedTrial(fixed)
    arguments = [found[name].argument(found[name].suggest(trial)) for name in fixed]
    assert arguments == ["--learning_rate=0.02", "--batch_size=8", "--optimizer=sgd", "--hparams=box_class_repeats=3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no options to search; write learning_rate"),
        ("a: [", r"must be plain YAML.*To search an option, write learning_rate"),
        ("[1]", r"must hold key: value lines\. Received a list"),
        ("gamma: [1, 2]\ngamma: [1, 3]", "the key 'gamma' occurs twice"),
        ("learning_rat: [1, 2]", r"must be an option of a training.*did you mean learning_rate\.$"),
        ("train_valid_split: [0.8, 0.9]", "the images are converted once for all trials"),
        ("keep: [1, 2]", "does not change what is trained"),
        ("learning_rate: 0.1", "must be a list of choices, or low and high"),
        ("learning_rate: [0.1]", "two different choices or more"),
        ("learning_rate: [a, b]", "must be values of --learning_rate"),
        ("optimizer: {low: 1, high: 2}", "is no number and must have a list of choices"),
        ("optimizer: [sgd, adamm]", "must be (of|values of)"),
        ("batch_size: {low: 1.5, high: 2}", "must be whole numbers"),
        ("learning_rate: {low: 0.2, high: 0.1}", "low below high"),
        ("learning_rate: {low: 0.1, high: .inf}", "must have finite numbers"),
        ("learning_rate: {low: 0, high: 0.1, log: true}", "low above 0 and no step"),
        ("learning_rate: {low: 0.1, high: 0.2, log: 1}", "log true or false"),
        ("learning_rate: {low: x, high: 0.2}", "must be numbers"),
        ("learning_rate: {low: 0.1, high: 0.2, lgo: true}", "low and high with log or step"),
        ("hparams.learning_rate: [0.1, 0.2]", "write learning_rate"),
        ("hparams.box_class_repeat: [1, 2]", "box_class_repeat"),
    ],
)
def test_read_space_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        read(tmp_path, text)


def test_read_space_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="There is no search space"):
        read_space(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: {low: -1, high: 0.1}", r"space\.yaml, learning_rate: learning_rate must be above 0"),
        ("mosaic: [0, 1.5]", r"space\.yaml, mosaic: mosaic must be"),
        ("batch_size: {low: -4, high: 8}", r"space\.yaml, batch_size: batch_size must be"),
        (SPACE, ""),
    ],
)
def test_check_values_refuses_what_an_option_does_not_allow(tmp_path: Path, text: str, message: str) -> None:
    options = compose(TuneOptions, space="space.yaml", url_dataset="a.zip")
    parameters = read(tmp_path, text)
    if not message:
        check_values("space.yaml", parameters, options)
        return
    with pytest.raises(OptionsError, match=message):
        check_values("space.yaml", parameters, options)
