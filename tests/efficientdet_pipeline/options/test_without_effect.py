"""Options without effect given others are known, in every mode."""

from typing import Any

import pytest

from efficientdet_pipeline.commands import MODES
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.export import ExportOptions
from efficientdet_pipeline.options.infer import InferOptions
from efficientdet_pipeline.options.inspect import InspectOptions
from efficientdet_pipeline.options.schema import compose, declarations, options_without_effect
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.options.verify import VerifyOptions

IMAGES = {"input_image": "a.png", "output_image_dir": "o"}


@pytest.mark.parametrize(
    ("options", "named", "not_named"),
    [
        (
            compose(InferOptions, saved_model_dir="export", **IMAGES),
            {"image_size", "model_name", "num_classes", "path_ckpt", "path_yaml", "run_name", "workspace", "hparams"},
            {"min_score_thresh", "debug", "mode", "input_image"},
        ),
        (compose(InferOptions, **IMAGES), set(), {"image_size", "run_name", "min_score_thresh", "class_thresholds"}),
        (
            compose(InferOptions, results="coco", **IMAGES),
            {"min_score_thresh", "class_thresholds", "line_thickness"},
            {"classes"},
        ),
        (compose(InferOptions, path_ckpt="c", **IMAGES), {"run_name", "model_dir"}, {"path_yaml", "image_size"}),
        (
            compose(EvalOptions, path_ckpt="c"),
            {"workspace", "run_name", "model_dir", "model_ckpts"},
            {"val_file_pattern"},
        ),
        (compose(ExportOptions, path_ckpt="c"), {"model_dir"}, {"path_output"}),
        (
            compose(TrainOptions, train_file_pattern="t", val_file_pattern="v"),
            {"prepare_size", "train_set", "train_valid_split", "num_shards", "strict", "data_dir"},
            {"label_map", "workspace", "tf_random_seed", "val_file_pattern", "cache_dir", "overwrite"},
        ),
        (
            compose(TrainOptions, url_dataset="demo"),
            set(),
            {"prepare_size", "patience", "data_dir", "workspace", "run_name"},
        ),
        (compose(TrainOptions, url_dataset=".", data_dir="d"), {"data_dir"}, {"workspace"}),
        (compose(TrainOptions, url_dataset="demo", model_dir="m"), {"workspace"}, {"model_ckpts", "model_dir"}),
        (compose(TrainOptions, url_dataset="demo", model_ckpts="m"), {"workspace", "run_name"}, {"model_ckpts"}),
        (
            compose(VerifyOptions, file_pattern="t"),
            {"workspace", "run_name", "model_dir"},
            {"num_workers", "file_pattern"},
        ),
        (compose(VerifyOptions, output_path="t"), {"workspace", "run_name", "model_dir"}, {"output_path"}),
        (compose(VerifyOptions), set(), {"workspace", "run_name"}),
        (
            compose(InspectOptions, what="model"),
            {"file_pattern", "samples", "eval", "save_samples_dir", "augment_recipe", "mosaic", "run_name"},
            {"model_name", "image_size", "hparams", "what", "debug"},
        ),
        (
            compose(InspectOptions, eval=True),
            {"mosaic", "augment_recipe"},
            {"tf_random_seed", "run_name", "samples", "mode"},
        ),
        (compose(InspectOptions, file_pattern="t"), {"run_name", "workspace"}, {"mosaic", "samples"}),
        (compose(TrainOptions, url_dataset="demo", val_file_pattern="v"), {"val_file_pattern"}, {"val_json_file"}),
        (
            compose(TrainOptions, url_dataset="demo", mode="train"),
            {"patience", "map_freq", "val_json_file"},
            {"run_name"},
        ),
    ],
)
def test_options_that_a_road_does_not_read(options: Any, named: set[str], not_named: set[str]) -> None:
    found = options_without_effect(options)
    assert named <= found.keys()
    assert not not_named & found.keys()
    assert found.keys() <= declarations(type(options)).keys()


def test_every_mode_can_say_it() -> None:
    for mode in MODES.values():
        assert callable(mode.options_class().without_effect)
