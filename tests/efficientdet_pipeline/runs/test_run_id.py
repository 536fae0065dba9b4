"""Runs are identical if the options that shape the training are equal."""

import re
from typing import Any

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.run_id import check_same_run, run_name, shaping


def name_of(network: dict[str, Any] | None = None, data: str = "photos", **given: Any) -> str:
    return run_name(
        "d0", shaping(compose(TrainOptions, **{"url_dataset": "demo", **given}), network or {}, {"data": data})
    )


def test_a_name_is_the_model_and_eight_hex_digits() -> None:
    assert re.fullmatch(r"d0-[0-9a-f]{8}", name_of())
    assert name_of() == name_of()


@pytest.mark.parametrize(
    "given", [{"num_epochs": 3}, {"workspace": "w"}, {"url_dataset": "moved.zip"}, {"mode": "train"}, {"debug": True}]
)
def test_epochs_paths_and_display_do_not_change_the_name(given: dict[str, Any]) -> None:
    assert name_of(**given) == name_of()


@pytest.mark.parametrize(
    "given",
    [
        {"batch_size": 4},
        {"tf_random_seed": 1},
        {"learning_rate": 0.1},
        {"data": "other photos"},
        {"network": {"survival_prob": 0.8}},
    ],
)
def test_what_shapes_the_training_changes_the_name(given: dict[str, Any]) -> None:
    assert name_of(**given) != name_of()


def test_the_same_shape_is_not_refused() -> None:
    shape = shaping(compose(TrainOptions, url_dataset="demo"), {"anchor_scale": [1.0, 2.0]}, {"data": "photos"})
    check_same_run("runs/x", shape, dict(shape), {})
    assert shape["hparams.anchor_scale"] == [1.0, 2.0]


def test_another_shape_is_refused_with_every_difference() -> None:
    begun = {"batch_size": 8, "learning_rate": 0.08, "hparams.survival_prob": 0.8}
    asked = {"batch_size": 4, "learning_rate": 0.08, "grid_mask": True}
    with pytest.raises(OptionsError) as told:
        check_same_run("runs/x", begun, asked, {})
    sentence = str(told.value)
    assert "batch_size: 8 then, 4 now" in sentence
    assert "grid_mask: 'not set' then, True now" in sentence
    assert "hparams.survival_prob: 0.8 then, 'not set' now" in sentence
    assert "learning_rate" not in sentence
    assert "--overwrite" in sentence


def test_urls_are_distinguished_by_their_secrets_and_shown_without_them() -> None:
    one, other = (f"https://me:{secret}@host/a.h5?token={secret}" for secret in ("s3cret", "s4cret"))
    shape = shaping(compose(TrainOptions, url_dataset="demo", pretrained_ckpt=one), {}, {"data": "photos"})
    assert shape["pretrained_ckpt"].startswith("https://***@host/a.h5?token=*** (")
    assert name_of(pretrained_ckpt=one) != name_of(pretrained_ckpt=other)
    assert name_of(pretrained_ckpt=one) == name_of(pretrained_ckpt=one)


def test_check_same_run_takes_an_option_that_the_run_did_not_know_as_its_default() -> None:
    check_same_run("runs/x", {"seed": 1}, {"seed": 1, "added": True}, {"added": True})
    with pytest.raises(OptionsError, match="added: True then, False now"):
        check_same_run("runs/x", {"seed": 1}, {"seed": 1, "added": False}, {"added": True})
