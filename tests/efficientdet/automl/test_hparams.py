"""Tests of the parser of hyper-parameters: all written forms, and errors with a remedy."""

import subprocess
import sys
from pathlib import Path

import pytest
from efficientdet.automl.hparams import HPARAMS, MODELS, model_hparams, parse_hparams


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (",,", {}),
        ("num_classes=20", {"num_classes": 20}),
        (",num_classes=20,, momentum = 0.8 ,", {"num_classes": 20, "momentum": 0.8}),
        ("image_size=512x640", {"image_size": "512x640"}),
        ("image_size=(512, 640)", {"image_size": (512, 640)}),
        ("image_size=384", {"image_size": 384}),
        ("nms_configs.method=hard,nms_configs.sigma=0.3", {"nms_configs": {"method": "hard", "sigma": 0.3}}),
        ("nms_configs={'max_nms_inputs': 9, 'pyfunc': true}", {"nms_configs": {"max_nms_inputs": 9, "pyfunc": True}}),
        ("mixed_precision=true,drop_remainder=False", {"mixed_precision": True, "drop_remainder": False}),
        ("aspect_ratios=1.0*2.0*0.5", {"aspect_ratios": [1.0, 2.0, 0.5]}),
        ("aspect_ratios=[1.0,2.0]", {"aspect_ratios": [1.0, 2.0]}),
        ("aspect_ratios=[(1.4, 0.7), 1]", {"aspect_ratios": [[1.4, 0.7], 1.0]}),
        ("anchor_scale=4*4*4*4*5", {"anchor_scale": [4.0, 4.0, 4.0, 4.0, 5.0]}),
        ("label_map={1:'a',2:'b, c'}", {"label_map": {1: "a", 2: "b, c"}}),
        ("label_map.1=a,label_map.x=b", {"label_map": {"1": "a", "x": "b"}}),
        ("label_map=/maps/a=b.yaml", {"label_map": "/maps/a=b.yaml"}),
        ("sample_image='photo, one.jpg',num_epochs=3", {"sample_image": "photo, one.jpg", "num_epochs": 3}),
        ("sample_image=it's.jpg", {"sample_image": "it's.jpg"}),
        ("fpn_weight_method=None", {"fpn_weight_method": None}),
        ("heads=object_detection*segmentation", {"heads": ["object_detection", "segmentation"]}),
        ("heads=segmentation", {"heads": ["segmentation"]}),
        ("learning_rate=1", {"learning_rate": 1.0}),
        ("save_freq=100,var_freeze_expr=(efficientnet|resample_p6)", {
            "save_freq": 100,
            "var_freeze_expr": "(efficientnet|resample_p6)",
        }),
        ("mean_rgb=127.0,stddev_rgb=1*2*3", {"mean_rgb": 127.0, "stddev_rgb": [1.0, 2.0, 3.0]}),
    ],
)  # fmt: skip
def test_hparams_string_of_pairs(text: str, expected: dict) -> None:
    parsed = parse_hparams(text)
    assert parsed == expected
    assert [type(value) for value in parsed.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("leraning_rate=1", "Unknown hparam 'leraning_rate'. Did you mean learning_rate"),
        ("autoaugmentation_policy=v3", "Did you mean autoaugment_policy"),
        ("nms_configs.methud=hard", "Unknown hparam 'nms_configs.methud'. Did you mean nms_configs.method"),
        ("learning_rate=abc", "learning_rate must be a number. Received learning_rate='abc'"),
        ("learning_rate=true", "learning_rate must be a number"),
        ("num_classes=2.5", "num_classes must be a whole number"),
        ("num_classes=None", "num_classes must be a whole number"),
        ("mixed_precision=1", "mixed_precision must be true or false"),
        ("heads=[1]", "heads must be a list, each item a string"),
        ("target_size=[1,2,3]", "target_size must be a whole number, WIDTHxHEIGHT, or .height, width. or None"),
        ("num_classes=1,b", "put a string that contains a comma in quotes"),
        ("aspect_ratios=[1,2", "Brackets and quotes must be closed"),
        ("nms_configs=3", "nms_configs must be a mapping"),
        ("nms_configs=3,nms_configs.method=hard", "both as a whole and by key"),
        ("d0", "pairs such as num_classes=20"),
        (3, "pairs such as num_classes=20"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
    ],
)
def test_hparams_what_is_refused(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_hparams(source)


def test_hparams_error_says_where_the_value_came_from(tmp_path: Path) -> None:
    page = tmp_path / "mine.yaml"
    page.write_text("alpha: much\n")
    with pytest.raises(ValueError, match=r"alpha='much' \(.*mine\.yaml\)"):
        parse_hparams(page)


def test_hparams_yaml_file(tmp_path: Path) -> None:
    page = tmp_path / "hparams.yaml"
    page.write_text("num_classes: 3\nlearning_rate: 1e-3\nlabel_map: {1: cell}\nnms_configs:\n  sigma: 0.3\n")
    expected = {"num_classes": 3, "learning_rate": 1e-3, "label_map": {1: "cell"}, "nms_configs": {"sigma": 0.3}}
    assert parse_hparams(str(page)) == parse_hparams(page) == expected


def test_hparams_config_that_automl_wrote(tmp_path: Path) -> None:
    # The TF2 trainer adds keys of the run, and tags tuples.
    page = tmp_path / "config.yaml"
    page.write_text("image_size: !!python/tuple\n- 320\n- 512\nmodel_name: efficientdet-d0\nsteps_per_epoch: 12\n")
    assert parse_hparams(page) == {"image_size": (320, 512)}


@pytest.mark.parametrize("content", ["name: !!python/name:os.system", "a: [", "- 1", "\x00"])
def test_hparams_file_that_is_no_plain_yaml(tmp_path: Path, content: str) -> None:
    page = tmp_path / "bad.yaml"
    page.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.yaml must"):
        parse_hparams(page)


def test_hparams_empty_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    assert parse_hparams(tmp_path / "empty.yaml") == {}
    with pytest.raises(FileNotFoundError, match="No hparams file"):
        parse_hparams(tmp_path / "missing.yaml")


def test_hparams_every_default_is_of_its_kind() -> None:
    assert len(HPARAMS) == 77 + 1  # resize is not automl's.
    for name in MODELS:
        hparams = model_hparams(name)
        assert parse_hparams(hparams) == hparams


def test_hparams_changing_a_models_hparams_changes_no_table() -> None:
    model_hparams("efficientdet-d0")["aspect_ratios"].append(3.0)
    assert model_hparams("efficientdet-d0")["aspect_ratios"] == [1.0, 2.0, 0.5]


def test_hparams_unknown_model_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"Unknown model 'efficientdet-d9'\. Did you mean efficientdet-d"):
        model_hparams("efficientdet-d9")


def test_hparams_reading_hparams_loads_nothing_heavy() -> None:
    program = (
        "import sys, efficientdet; efficientdet.get_config('efficientdet-d0', num_classes=3);"
        "print({'keras', 'numpy', 'tensorflow', 'jax', 'yaml'} & sys.modules.keys())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"var_freeze_expr=r'.*/class-predict/.*'", ".*/class-predict/.*"),
        (r'var_freeze_expr=R"a,b(c"', "a,b(c"),
        (r"var_freeze_expr=r'\d+'", r"\d+"),
        ("var_freeze_expr=(a*b|c.*d)", "(a*b|c.*d)"),
        ("var_freeze_expr=a*b", "a*b"),
        ("var_freeze_expr=for'x", "for'x"),
    ],
)
def test_hparams_text_is_read_as_python_writes_it(text: str, expected: str) -> None:
    assert parse_hparams(f"num_classes=3,{text},num_epochs=2") == {
        "num_classes": 3,
        "var_freeze_expr": expected,
        "num_epochs": 2,
    }


def test_hparams_key_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text("num_classes: 3\nnum_classes: 4\n")
    with pytest.raises(ValueError, match=r"the key 'num_classes' occurs twice"):
        parse_hparams(tmp_path / "h.yaml")
    with pytest.raises(ValueError, match=r"num_classes is given twice"):
        parse_hparams("num_classes=3,num_classes=4")


@pytest.mark.parametrize("value", [":".join(["59"] * 20_000), "010", "0x" + "F" * 5000, "1" + "0" * 400])
def test_hparams_huge_numbers_are_rejected_in_a_few_words(value: str, tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text(f"num_classes: {value}\n")
    with pytest.raises(ValueError, match=r"num_classes must be a whole number") as refused:
        parse_hparams(tmp_path / "h.yaml")
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("text", ["a:\tb\n\tc: d\n", "a: [1,", "{1: 2}", "label_map: &a [*a]\n"])
def test_hparams_broken_file_is_one_paragraph(text: str, tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"h\.yaml must") as refused:
        parse_hparams(tmp_path / "h.yaml")
    assert "\n" not in str(refused.value)


def test_hparams_path_may_hold_an_equals_sign(tmp_path: Path) -> None:
    (tmp_path / "lr=1.yaml").write_text("num_classes: 3\n")
    assert parse_hparams(str(tmp_path / "lr=1.yaml")) == {"num_classes": 3}
