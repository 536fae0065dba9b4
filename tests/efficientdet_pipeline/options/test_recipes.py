"""Augmentation presets and files set options that are not given explicitly."""

import json
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.options.recipes import RECIPES
from efficientdet_pipeline.options.schema import declarations
from efficientdet_pipeline.options.training import TrainOptions

READER = Reader({"train": TrainOptions}, "train")


def options(*arguments: str) -> Any:
    return READER.build(READER.read(["--url_dataset=demo", *arguments], {}), TrainOptions).augmentation


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Returns a function that writes an augmentation file and returns its option."""

    def write(text: str) -> str:
        (tmp_path / "augment.yaml").write_text(text, encoding="utf-8")
        return f"--augment_config={tmp_path / 'augment.yaml'}"

    return write


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_sets_what_it_says_and_nothing_else(name: str) -> None:
    chosen, plain = options(f"--augment_recipe={name}"), options()
    for option in declarations(AugmentationOptions):
        if option != "augment_recipe":
            assert getattr(chosen, option) == RECIPES[name].get(option, getattr(plain, option)), option


def test_what_is_given_takes_precedence_over_a_recipe() -> None:
    chosen = options("--mosaic=0.25", "--augment_recipe=strong", "--jitter_min=0.7")
    assert (chosen.mosaic, chosen.jitter_min, chosen.jitter_max) == (0.25, 0.7, 1.7)


def test_the_run_remembers_the_sources() -> None:
    read = READER.read(["--url_dataset=demo", "--augment_recipe=strong"], {})
    assert read.source_of("mosaic") == "--augment_recipe=strong"
    assert read.source_of("url_dataset") == "the command line"


def test_a_file_is_between_recipe_and_options(config: Any) -> None:
    path = config("augment_recipe: strong\nmosaic: 0.9\nmixup: 0\nhsv_hue: 0.1\n")
    chosen = options(path, "--hsv_hue=0.2")
    assert (chosen.mosaic, chosen.mixup, chosen.hsv_hue, chosen.jitter_min) == (0.9, 0.0, 0.2, 0.3)
    assert options(path, "--augment_recipe=flip").jitter_min == 1.0


def test_a_file_may_hold_steps(config: Any) -> None:
    chosen = options(config("steps:\n- HorizontalFlip\n- {name: CenterCrop, height: 30, width: 40}\n"))
    assert json.loads(chosen.augment_steps) == ["HorizontalFlip", {"name": "CenterCrop", "height": 30, "width": 40}]


def test_an_empty_file_says_nothing(config: Any) -> None:
    assert options(config("# nothing\n")).mosaic == 0.0


def test_a_run_is_named_by_what_a_recipe_says_and_not_by_its_name() -> None:
    shaping = {name for name, declared in declarations(TrainOptions).items() if declared.shapes}
    assert {"mosaic", "jitter_min", "augment", "augment_steps", "class_balance", "close_mosaic"} <= shaping
    assert not {"augment_recipe", "augment_config", "cache"} & shaping


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mosiac: 0.3", r"Unknown name 'mosiac' in .*augment\.yaml \(augment_config\); did you mean mosaic\?"),
        ("batch_size: 3", r"Unknown name 'batch_size'"),
        ("mosaic: high", r"mosaic must be a number\. Received 'high' in"),
        ("mosaic: true", r"mosaic must be a number\. Received True"),
        ("grid_mask: 1", r"grid_mask must be true or false\. Received 1"),
        ("close_mosaic: 1.5", r"close_mosaic must be a whole number"),
        ("mosaic: 3", r"mosaic must be between 0 and 1\. Received 3\.0.*came from --augment_config="),
        ("[a]", r"must map options to values.*contains list; start a list of steps with `steps:`"),
        ("a: [", r"augment_config must be plain YAML"),
        ("!!python/object:os.system {}", r"augment_config must be plain YAML"),
        ("steps: [Cropp]", r"Unknown step 'Cropp'"),
        ("augment_recipe: storng", r"Received 'storng'; did you mean strong\?"),
    ],
)
def test_what_is_wrong_in_a_file_is_reported(text: str, sentence: str, config: Any) -> None:
    with pytest.raises(OptionsError, match=sentence):
        options(config(text))


def test_a_missing_file_is_reported() -> None:
    with pytest.raises(MissingError, match=r"The file nowhere\.yaml does not exist"):
        options("--augment_config=nowhere.yaml")


def test_an_unknown_recipe_is_reported() -> None:
    with pytest.raises(OptionsError, match=r"augment_recipe must be one of .*Received 'mixin'; did you mean mixing"):
        options("--augment_recipe=mixin")


def test_recipes_go_by_their_earlier_names(caplog: pytest.LogCaptureFixture) -> None:
    assert RECIPES["small-data"] == RECIPES["mixing"]
    assert options("--augment_recipe=small-data").copy_paste == options("--augment_recipe=mixing").copy_paste == 0.3
    assert "augment_recipe=small-data is now called mixing" in caplog.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"mosaic: {'[' * 5000}", "augment_config must be plain YAML"),
        ("steps: &a [*a]", "steps must consist of names and numbers.*Circular"),
        ("steps: [{name: CenterCrop, height: 2020-01-01}]", "steps must consist of names and numbers.*date"),
    ],
)
def test_values_that_are_not_plain_are_reported(config: Any, text: str, sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence):
        options(config(text))
