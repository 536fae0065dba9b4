"""The config of --model_config: its file, the values behind it, and what of other options goes into it."""

import json
from pathlib import Path

import pytest

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.models.detector_parts import (
    FILE,
    chosen_config,
    config_text,
    given_config,
    keep_config,
    with_classes,
    with_config_of_run,
)
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.run_dir import run_folder

CONFIG = {
    "name": "tiny",
    "backbone": "efficientnet-lite0",
    "neck": {"name": "bifpn", "filters": 8, "repeats": 1},
    "head": {"name": "anchor_free", "filters": 8},
    "image_size": 64,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "tiny.json").write_text(json.dumps({**CONFIG, "label_map": {"1": "a"}}))
    return tmp_path / "tiny.json"


def options(file: Path | str, **given: object) -> TrainOptions:
    return compose(TrainOptions, **{"url_dataset": "demo", "model_config": str(file), **given})


def test_given_config_is_the_file_with_the_values_behind_it(file: Path) -> None:
    assert given_config(options(file).model) == CONFIG
    config = given_config(options(f"{file},head.num_heads=1,neck.name=vfpn").model)
    assert (config["head"]["num_heads"], config["head"]["name"], config["neck"]["name"]) == (1, "anchor_free", "vfpn")


def test_given_config_names_what_is_wrong(file: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"There is no file .*none\.yaml"):
        given_config(options(tmp_path / "none.yaml").model)
    with pytest.raises(OptionsError, match=r"Unknown key of neck .filter.\. Did you mean filters"):
        given_config(options(f"{file},neck.filter=3").model)
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(OptionsError, match=r"list\.yaml"):
        given_config(options(tmp_path / "list.yaml").model)


def test_chosen_config_takes_canvas_classes_and_resize_from_the_options(file: Path) -> None:
    given = options(file, image_size="96x64", num_classes=7, resize="stretch").model
    config = chosen_config(given, HparamsGiven())
    assert (config["image_size"], config["head"]["num_classes"], config["resize"]) == ([64, 96], 7, "stretch")
    with pytest.raises(OptionsError, match=r"--hparams describe google/automl.s networks\. Received anchor_scale"):
        chosen_config(given, HparamsGiven(network={"anchor_scale": 2}))


def test_with_classes_leaves_what_the_config_says() -> None:
    assert with_classes(CONFIG, 3)["head"]["num_classes"] == 3
    own = {**CONFIG, "head": {"name": "anchor_free", "num_classes": 5}}
    assert with_classes(own, 3)["head"]["num_classes"] == 5
    assert with_classes({**CONFIG, "head": "yolov8"}, 3)["head"] == {"name": "yolov8", "num_classes": 3}


def test_keep_config_lets_a_named_run_go_on_without_the_file(file: Path, tmp_path: Path) -> None:
    given = options(file, model_dir=str(tmp_path / "run"))
    keep_config(given.model, run_folder(given.run, ""))
    later = with_config_of_run(compose(TrainOptions, url_dataset="demo", model_dir=str(tmp_path / "run")))
    assert later.model.model_config == str(tmp_path / "run" / FILE)
    assert config_text(later.model) == config_text(given.model)
    other = compose(TrainOptions, url_dataset="demo", model_dir=str(tmp_path / "run"), model_name="efficientdet-d0")
    assert with_config_of_run(other) == other
    assert config_text(ModelOptions()) == ""
