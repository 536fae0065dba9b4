"""automl's hyperparameters are assigned to the network, to options of the same name, or ignored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.hparams import (
    HparamsGiven,
    hparams_parts,
    merge_hparams,
    network_overrides,
    read_hparams,
)
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.parser import Given
from efficientdet_pipeline.options.training import TrainOptions


def read(text: str, options_class: type = TrainOptions) -> HparamsGiven:
    return read_hparams(text, "the command line", options_class)


def option_values(given: HparamsGiven) -> dict[str, Any]:
    return {name: each.value for name, each in given.options.items()}


def test_nothing_given_gives_nothing() -> None:
    assert read("") == HparamsGiven()


def test_keys_of_the_network_stay_with_the_network() -> None:
    given = read("survival_prob=0.8,aspect_ratios=1.0*2.0,nms_configs.method=hard")
    assert given.network == {
        "survival_prob": 0.8,
        "aspect_ratios": [1.0, 2.0],
        "nms_configs": {"method": "hard"},
    }
    assert given.options == {}


def test_keys_of_a_run_become_defaults_of_the_options() -> None:
    given = read("num_epochs=3.0,learning_rate=1,mixed_precision=true,iou_loss_type=ciou")
    expected = {"num_epochs": 3, "learning_rate": 1.0, "mixed_precision": True, "iou_loss_type": "ciou"}
    assert option_values(given) == expected
    assert given.options["num_epochs"].source.startswith("--hparams (num_epochs=3.0")


@pytest.mark.parametrize(("text", "value"), [("save_freq=epoch", "epoch"), ("save_freq=100", "100")])
def test_checkpoints_are_made_as_often_as_automl_makes_them(text: str, value: str) -> None:
    assert option_values(read(text)) == {"save_freq": value}


def test_the_model_that_hparams_name_is_the_model() -> None:
    assert option_values(read("name=efficientdet-d1")) == {"model_name": "efficientdet-d1"}


def test_none_is_off_where_the_option_knows_no_none() -> None:
    given = read("autoaugment_policy=None,iou_loss_type=None,var_freeze_expr=None")
    assert option_values(given) == {"autoaugment_policy": "", "iou_loss_type": "", "var_freeze_expr": ""}


@pytest.mark.parametrize(("text", "expected"), [("512", "512"), ("640x384", "640x384")])
def test_a_picture_size_is_width_by_height(text: str, expected: str, tmp_path: Path) -> None:
    assert option_values(read(f"image_size={text}")) == {"image_size": expected}
    # As a pair, automl's order is (height, width).
    (tmp_path / "h.yaml").write_text("image_size: [384, 640]\n")
    assert option_values(read(str(tmp_path / "h.yaml"))) == {"image_size": "640x384"}


def test_a_yaml_file_gives_the_label_map_too(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text("num_classes: 2\nlabel_map: {1: cat, 2: 犬}\n", encoding="utf-8")
    given = read(str(tmp_path / "h.yaml"))
    assert given.label_map == {1: "cat", 2: "犬"}
    assert option_values(given) == {"num_classes": 2}


def test_keys_without_effect_are_reported_with_the_reason() -> None:
    given = read("verbose=0,data_format=channels_first,img_summary_steps=5")
    assert set(given.ignored) == {"verbose", "data_format", "img_summary_steps"}
    assert "channels_last" in given.ignored["data_format"]
    assert given.network == {}


def test_defaults_of_automl_that_have_no_effect_are_not_reported() -> None:
    assert read("verbose=1,data_format=channels_last,save_freq=epoch").ignored == {}


def test_a_mode_without_the_option_tells_it() -> None:
    given = read("learning_rate=3.0", EvalOptions)
    assert given.options == {}
    assert given.ignored == {"learning_rate": "the mode has no option learning_rate"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("num_clases=3", r"Unknown hparam 'num_clases'\. Did you mean num_classes.*came from the command line"),
        ("batchsize=3", r"Unknown hparam 'batchsize'\. Did you mean batch_size\?"),
        ("zzzz=3", r"Unknown hparam 'zzzz'\. Known: [^.]{,1200}\. It was given"),
        ("num_classes=x", r"num_classes must be a whole number\. Received"),
        ("num_epochs=2.5", r"num_epochs must be a whole number"),
        ("voc", r"hparams must be pairs such as"),
    ],
)
def test_a_wrong_hparam_is_reported(text: str, sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence):
        read(text)


def test_a_missing_yaml_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"No hparams file .*none\.yaml.*came from the command line"):
        read(str(tmp_path / "none.yaml"))


def test_a_broken_yaml_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text("a: [1,")
    with pytest.raises(OptionsError, match=r"h\.yaml must be plain YAML"):
        read(str(tmp_path / "h.yaml"))


def test_an_option_takes_precedence_over_the_same_hparam() -> None:
    given = read("survival_prob=0.8")
    options = ModelOptions(image_size="640x384", num_classes=3)
    assert network_overrides(options, given) == {"survival_prob": 0.8, "image_size": "640x384", "num_classes": 3}
    assert network_overrides(ModelOptions(image_size="128"), given)["image_size"] == 128
    assert network_overrides(ModelOptions(), given) == {"survival_prob": 0.8}


@pytest.fixture
def page(tmp_path: Path) -> Callable[[str], str]:
    """Returns a function that writes a YAML file and returns its path."""

    def write(text: str) -> str:
        (tmp_path / "page.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "page.yaml")

    return write


def test_hparams_file_gives_every_option_its_default(page: Callable[[str], str]) -> None:
    text = "batch_size: 2\nmodel_name: efficientdet-lite0\neval_samples: 1\nnum_epochs: 1\npatience: 3\nema: 1\n"
    given = read(page(text.replace("ema: 1\n", "tf_random_seed: 7\ndebug: true\nval_json_file: v.json\n")))
    assert option_values(given) == {
        "batch_size": 2,
        "model_name": "efficientdet-lite0",
        "eval_samples": 1,
        "num_epochs": 1,
        "patience": 3,
        "tf_random_seed": 7,
        "debug": True,
        "val_json_file": "v.json",
    }
    assert given.ignored == {}
    assert option_values(read("batch_size=auto")) == {"batch_size": 0}


@pytest.mark.parametrize("key", ["model_dir", "workspace", "run_name", "num_shards", "steps_per_epoch", "overwrite"])
def test_hparams_key_that_cannot_be_obeyed_is_named_with_the_reason(key: str, page: Callable[[str], str]) -> None:
    given = read(page(f"{key}: 4\n"))
    assert given.options == {}
    assert f"--{'num_examples_per_epoch' if key == 'steps_per_epoch' else key}" in given.ignored[key]


def test_hparams_option_of_another_mode_is_named(page: Callable[[str], str]) -> None:
    given = read_hparams(page("patience: 3\nbatch_size: 4\n"), "the command line", EvalOptions, {"patience"})
    assert option_values(given) == {"batch_size": 4}
    assert given.ignored == {"patience": "the mode has no option patience"}
    with pytest.raises(OptionsError, match=r"Unknown hparam 'patience'"):
        read(page("patience: 3\n"), EvalOptions)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("batch_size: two", r"batch_size must be a whole number or auto\. Received 'two' from --hparams"),
        ("batch_size: 2.5", r"batch_size must be a whole number"),
        ("batch_size: true", r"batch_size must be a whole number"),
        ("patience: .inf", r"patience must be a whole number"),
        ("profile: maybe", r"profile must be true or false"),
        ("run_name: [1]\nval_json_file: [a]", r"val_json_file must be text"),
        ("name: efficientdet-d1\nmodel_name: efficientdet-d0", r"must be the same network"),
    ],
)
def test_hparams_value_of_another_type_is_refused(text: str, sentence: str, page: Callable[[str], str]) -> None:
    with pytest.raises(OptionsError, match=sentence):
        read(page(text))


def test_hparams_label_map_keeps_its_names_as_written(page: Callable[[str], str]) -> None:
    names = {1: "yes", 2: "no", 3: "010", 4: "12:30"}
    assert read(page("label_map: {1: yes, 2: no, 3: 010, 4: 12:30}")).label_map == names
    assert read("label_map={1:a,2:b c}").label_map == "{1:a,2:b c}"
    assert read(page("label_map: {circle: 1}")).label_map == {"circle": "1"}
    assert read(page("label_map: coco")).label_map == "coco"
    assert read(page("label_map:")).label_map is None


def test_merge_hparams_goes_key_by_key_and_the_later_wins(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("anchor_scale: 4\nnum_epochs: 7\nlabel_map: {1: cat}\n")
    texts = [
        f"{tmp_path}/base.yaml,fpn_cell_repeats=2",
        "nms_configs.method=hard,nms_configs.sigma=0.3",
        "anchor_scale=2,nms_configs.sigma=0.4",
        f"{tmp_path}/base.yaml,num_epochs=3",
    ]
    merged, replaced = merge_hparams([Given(text, "x") for text in texts], TrainOptions)
    assert merged.network == {
        "anchor_scale": 4.0,
        "fpn_cell_repeats": 2,
        "nms_configs": {"method": "hard", "sigma": 0.4},
    }
    assert option_values(merged) == {"num_epochs": 3}
    assert {str(key): name for key, name in merged.label_map.items()} == {"1": "cat"}
    assert set(replaced) == {"anchor_scale", "nms_configs.sigma", "num_epochs", "label_map"}


def test_merge_hparams_drops_what_precedes_an_empty_one() -> None:
    merged, replaced = merge_hparams(
        [Given("anchor_scale=2", "a"), Given("", "b"), Given("num_epochs=3", "c")], TrainOptions
    )
    assert (merged.network, option_values(merged), replaced) == ({}, {"num_epochs": 3}, ())


def test_merge_hparams_names_the_place_of_a_wrong_one() -> None:
    with pytest.raises(OptionsError, match=r"hparams came from b\.config, line 3"):
        merge_hparams([Given("anchor_scale=2", "a"), Given("anchor_scael=2", "b.config, line 3")], TrainOptions)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a=1", ["a=1"]),
        ("a=[1,2],b='x,y'", ["a=[1,2],b='x,y'"]),
        ("x.yaml", ["x.yaml"]),
        ("a=1,x.yaml,y.YML,b=2,c=3", ["a=1", "x.yaml", "y.YML", "b=2,c=3"]),
        ("a=(1", ["a=(1"]),
    ],
)
def test_hparams_parts_are_files_and_pairs_in_their_order(text: str, parts: list[str]) -> None:
    assert hparams_parts(text) == parts


def test_hparams_parts_take_a_file_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "lr=0.1, [v2].yaml"
    path.touch()
    assert hparams_parts(str(path)) == [str(path)]
