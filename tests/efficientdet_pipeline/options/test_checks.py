"""Options of each mode reject contradictions, with both values and a remedy."""

from typing import Any

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.convert import ConvertOptions
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.export import ExportOptions
from efficientdet_pipeline.options.infer import InferOptions
from efficientdet_pipeline.options.inspect import InspectOptions
from efficientdet_pipeline.options.schema import check_choice, compose, declarations, flatten
from efficientdet_pipeline.options.training import TrainOptions

NEEDED: dict[type, dict[str, Any]] = {
    TrainOptions: {"url_dataset": "demo"},
    ConvertOptions: {"url_dataset": "demo"},
    EvalOptions: {},
    ExportOptions: {},
    InspectOptions: {},
    InferOptions: {"input_image": "photo.jpg", "output_image_dir": "out"},
}
INFINITE = float("inf")
NO_NUMBER = float("nan")


@pytest.mark.parametrize("options_class", NEEDED)
def test_defaults_pass(options_class: type) -> None:
    options = compose(options_class, NEEDED[options_class])
    assert flatten(options)["traceback"] is False


@pytest.mark.parametrize(
    ("options_class", "given", "option", "sentence"),
    [
        (ConvertOptions, {"tf_random_seed": -1}, "tf_random_seed", r"Received -1; try 1\."),
        (ConvertOptions, {"tf_random_seed": 2**32}, "tf_random_seed", r"from 0 to 2\^32 - 1\. Received 4294967296"),
        (EvalOptions, {"run_name": "a/b"}, "run_name", r"without slashes.*Received 'a/b'; set the folder by"),
        (EvalOptions, {"run_name": "a\\b"}, "run_name", r"without slashes"),
        (EvalOptions, {"run_name": ".."}, "run_name", r"without slashes"),
        (EvalOptions, {"run_name": " "}, "run_name", r"surrounding spaces"),
        (EvalOptions, {"run_name": "a", "model_dir": "b"}, "run_name", r"received both \(model_dir='b', run_name='a'"),
        (EvalOptions, {"batch_size": -1}, "batch_size", r"at least 1, or auto\. Received -1; try 8"),
        (EvalOptions, {"eval_samples": 0}, "eval_samples", r"at least 1\. Received 0; leave it out"),
        (EvalOptions, {"image_size": "big"}, "image_size", r"a number or WIDTHxHEIGHT\. Received 'big'"),
        (EvalOptions, {"image_size": "512X512"}, "image_size", r"WIDTHxHEIGHT"),
        (EvalOptions, {"image_size": "-512"}, "image_size", r"WIDTHxHEIGHT"),
        (EvalOptions, {"image_size": "16"}, "image_size", r"at least 32 pixels per side"),
        (EvalOptions, {"image_size": "640x9999"}, "image_size", r"at most 8192 pixels per side"),
        (EvalOptions, {"num_classes": 0}, "num_classes", r"above 0\. Received 0; leave it out"),
        (
            InspectOptions,
            {"what": "model!"},
            "what",
            r"one of records, model, environment\. Received 'model!'; did you mean model\?",
        ),
        (InspectOptions, {"samples": 0}, "samples", r"at least 1"),
        (InferOptions, {"min_score_thresh": 1.5}, "min_score_thresh", r"between 0 and 1\. Received 1\.5"),
        (InferOptions, {"max_boxes_to_draw": -1}, "max_boxes_to_draw", r"0 or more\. Received -1"),
        (InferOptions, {"input_image": ""}, "input_image", r"must be given for --mode=infer.*try --input_image="),
        (InferOptions, {"output_image_dir": ""}, "output_image_dir", r"try --output_image_dir=out"),
        (ConvertOptions, {"url_dataset": ""}, "url_dataset", r"^No data: .*try --url_dataset=photos\.zip"),
        (ConvertOptions, {"train_valid_split": 80.0}, "train_valid_split", r"above 0 and at most 1\. Received 80\.0"),
        (ConvertOptions, {"train_valid_split": 0.0}, "train_valid_split", r"Received 0\.0"),
        (ConvertOptions, {"train_valid_split": -0.8}, "train_valid_split", r"Received -0\.8"),
        (ConvertOptions, {"train_valid_split": NO_NUMBER}, "train_valid_split", r"a finite number\. Received nan"),
        (
            ConvertOptions,
            {"test_split": 0.3},
            "test_split",
            r"between 0 and what training leaves \(0\.2\). Received 0\.3",
        ),
        (ConvertOptions, {"test_split": -0.1}, "test_split", r"Received -0\.1"),
        (ConvertOptions, {"num_shards": 0}, "num_shards", r"-1 or above 0\. Received 0"),
        (ConvertOptions, {"num_workers": -1}, "num_workers", r"0 or more"),
        (ConvertOptions, {"dataset_sha256": "abc"}, "dataset_sha256", r"64 hexadecimal digits\. Received 'abc'"),
        (ConvertOptions, {"dataset_sha256": "g" * 64}, "dataset_sha256", r"64 hexadecimal digits"),
        (TrainOptions, {"url_dataset": ""}, "url_dataset", r"^No data: .*try `python3 main\.py @params\.config`"),
        (TrainOptions, {"train_file_pattern": "t*"}, "train_file_pattern", r"Images are given twice"),
        (TrainOptions, {"url_dataset": "", "train_file_pattern": "t*"}, "val_file_pattern", r"or try --mode=train"),
        (TrainOptions, {"train_valid_split": 1.0}, "train_valid_split", r"below 1 for traineval.*try 0\.8"),
        (TrainOptions, {"num_epochs": 0}, "num_epochs", r"at least 1"),
        (TrainOptions, {"alpha": 2.0}, "alpha", r"from 0 to 1: negatives weigh 1 - alpha\. Received 2\.0; try 0\.25"),
        (TrainOptions, {"batch_size": -8}, "batch_size", r"at least 1, or auto\. Received -8; try 8"),
        (TrainOptions, {"learning_rate": 0.0}, "learning_rate", r"above 0\. Received 0\.0"),
        (TrainOptions, {"learning_rate": INFINITE}, "learning_rate", r"a finite number\. Received inf"),
        (TrainOptions, {"gamma": NO_NUMBER}, "gamma", r"a finite number\. Received nan"),
        (TrainOptions, {"weight_decay": -1e-5}, "weight_decay", r"0 or more"),
        (TrainOptions, {"momentum": 1.0}, "momentum", r"at least 0 and below 1"),
        (TrainOptions, {"moving_average_decay": 1.5}, "moving_average_decay", r"below 1"),
        (TrainOptions, {"jitter_min": 0.0}, "jitter_min", r"above 0 and at most jitter_max"),
        (TrainOptions, {"jitter_min": 2.0}, "jitter_min", r"at most jitter_max \(1\.4\)\. Received 2\.0"),
        (
            TrainOptions,
            {"optimizer": "sdg"},
            "optimizer",
            r"one of sgd, adam, adamw\. Received 'sdg'; did you mean sgd",
        ),
        (TrainOptions, {"autoaugment_policy": "v9"}, "autoaugment_policy", r"Received 'v9'"),
        (TrainOptions, {"lr_decay_method": "cosin"}, "lr_decay_method", r"did you mean cosine\?"),
        (TrainOptions, {"iou_loss_type": "eiou"}, "iou_loss_type", r"one of '', iou, giou"),
        (TrainOptions, {"strategy": "gpu"}, "strategy", r"did you mean gpus\?"),
        (TrainOptions, {"precision": "bfloat16"}, "precision", r"did you mean mixed_bfloat16\?"),
        (TrainOptions, {"precision": "float32", "mixed_precision": True}, "mixed_precision", "are mutually exclusive"),
        (TrainOptions, {"accumulate_steps": 0}, "accumulate_steps", r"at least 1\. Received 0"),
        (TrainOptions, {"positives_momentum": 1.0}, "positives_momentum", r"below 1\. Received 1\.0"),
        (TrainOptions, {"steps_per_execution": 0}, "steps_per_execution", r"at least 1"),
        (TrainOptions, {"map_freq": -1}, "map_freq", r"0 or more"),
        (TrainOptions, {"save_freq": "often"}, "save_freq", r"auto, epoch, or a number of steps\. Received 'often'"),
        (TrainOptions, {"save_freq": "0"}, "save_freq", r"auto, epoch, or a number of steps"),
        (TrainOptions, {"keep": 0}, "keep", r"at least 1"),
        (TrainOptions, {"patience": -1}, "patience", r"0 or more"),
        (TrainOptions, {"max_bad_steps": -1}, "max_bad_steps", r"0 or more"),
        (TrainOptions, {"grace_seconds": 0.0}, "grace_seconds", r"above 0"),
        (
            TrainOptions,
            {"num_examples_per_epoch": 0},
            "num_examples_per_epoch",
            r"at least 1\. Received 0; leave it out",
        ),
        (
            TrainOptions,
            {"hub_module_url": "a", "pretrained_ckpt": "b"},
            "hub_module_url",
            r"can be given as the initial weights\. Received hub_module_url='a' and pretrained_ckpt='b'",
        ),
    ],
)
def test_a_wrong_value_is_reported(options_class: type, given: dict[str, Any], option: str, sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence) as told:
        compose(options_class, {**NEEDED[options_class], **given})
    assert told.value.option == option


@pytest.mark.parametrize(
    ("options_class", "given"),
    [
        (ConvertOptions, {"tf_random_seed": 0}),
        (EvalOptions, {"run_name": "猫 und Hund-2.1"}),
        (EvalOptions, {"image_size": "640x384"}),
        (ConvertOptions, {"url_dataset": "", "data_dir": "photos"}),
        (ConvertOptions, {"train_valid_split": 0.7, "test_split": 0.3}),
        (ConvertOptions, {"train_valid_split": 1.0}),
        (ConvertOptions, {"dataset_sha256": "A" * 64}),
        (TrainOptions, {"mode": "train", "train_valid_split": 1.0}),
        (TrainOptions, {"train_valid_split": 1.0, "val_set": "val"}),
        (TrainOptions, {"mode": "train", "url_dataset": "", "train_file_pattern": "t*"}),
        (TrainOptions, {"url_dataset": "", "train_file_pattern": "t*", "val_file_pattern": "v*"}),
        (TrainOptions, {"url_dataset": "", "data_dir": "photos"}),
        (TrainOptions, {"hub_module_url": "a", "pretrained_ckpt": "none"}),
        (TrainOptions, {"moving_average_decay": 0.0, "weight_decay": 0.0, "clip_gradients_norm": 0.0}),
    ],
)
def test_valid_values_pass(options_class: type, given: dict[str, Any]) -> None:
    options = compose(options_class, {**NEEDED[options_class], **given})
    assert {name: flatten(options)[name] for name in given} == given


def test_batch_size_of_auto_is_taken_outside_training() -> None:
    for options_class, default in ((EvalOptions, 8), (InferOptions, 1)):
        options = compose(options_class, {**NEEDED[options_class], "batch_size": 0})
        assert options.batch_size or options_class.batch_size == default


def test_a_choice_that_resembles_none_is_reported_without_a_guess() -> None:
    with pytest.raises(OptionsError, match=r"Received 'qqq'; choose one of them\."):
        check_choice("optimizer", "qqq", ("sgd", "adam"))


def test_paths_epochs_and_display_do_not_name_the_run() -> None:
    shaping = {name for name, declared in declarations(TrainOptions).items() if declared.shapes}
    assert not shaping & {
        *("num_epochs", "mode", "workspace", "run_name", "model_dir", "model_ckpts", "overwrite", "url_dataset"),
        *("cache_dir", "data_dir", "output_path", "path_output", "debug", "traceback", "profile", "map_freq"),
        *("save_freq", "keep", "patience", "max_bad_steps", "grace_seconds"),
        *("val_file_pattern", "eval_samples", "num_workers", "use_xla", "steps_per_execution"),
    }
    assert {"tf_random_seed", "model_name", "image_size", "batch_size", "learning_rate", "pretrained_ckpt"} <= shaping


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"poly_lr_power": 3.0}, "poly_lr_power has no effect without --lr_decay_method=polynomial."),
        ({"first_lr_drop_epoch": 3.0}, "first_lr_drop_epoch has no effect without --lr_decay_method=stepwise."),
        ({"iou_loss_weight": 5.0}, "iou_loss_weight has no effect without --iou_loss_type."),
        ({"loss_scale": 5.0}, "loss_scale has no effect without --precision=mixed_float16."),
        ({"lr_decay_method": "stepwise"}, "lr_decay_method=stepwise has no effect in 50 epochs: the first drop is at"),
    ],
)
def test_what_has_nothing_to_act_on_is_reported(
    given: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("absl.logging.warning", lambda text, *values: said.append(text % values))
    compose(TrainOptions, **NEEDED[TrainOptions])
    assert not said
    compose(TrainOptions, **NEEDED[TrainOptions], **given)
    assert len(said) == 1
    assert said[0].startswith(sentence)


def test_what_has_something_to_act_on_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("absl.logging.warning", lambda text, *values: pytest.fail(text))
    needed = NEEDED[TrainOptions]
    compose(TrainOptions, **needed, lr_decay_method="polynomial", poly_lr_power=2.0)
    compose(TrainOptions, **needed, lr_decay_method="stepwise", first_lr_drop_epoch=20.0, second_lr_drop_epoch=40.0)
    compose(TrainOptions, **needed, iou_loss_type="ciou", iou_loss_weight=2.0)
    compose(TrainOptions, **needed, precision="mixed_float16", loss_scale=8.0)
