"""Properties of the data of a training."""

from pathlib import Path

import pytest

from efficientdet_pipeline.data.dataset_info import Shards, compare_validation
from efficientdet_pipeline.runs.run_dir import RunFolder


def shards(*val: Path) -> Shards:
    names = tuple(map(str, val))
    return Shards(train=(), val=names, num_train=1, num_classes=1, label_map={1: "thing"}, max_instances=1)


def folder_in(path: Path) -> RunFolder:
    return RunFolder(path, path / "export", path / "tfrecords", path)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr("absl.logging.warning", lambda text, *values: found.append(text % values))
    return found


def test_dataset_info_other_validation_images_are_logged(tmp_path: Path, said: list[str]) -> None:
    one, other = tmp_path / "val-0", tmp_path / "val-1"
    one.write_bytes(b"1")
    other.write_bytes(b"22")
    folder = folder_in(tmp_path)
    compare_validation(folder, shards(one), is_begun=False)
    compare_validation(folder, shards(one), is_begun=True)
    # A run that trained without validation images gets some.
    compare_validation(folder, shards(), is_begun=True)
    assert not said
    compare_validation(folder, shards(one, other), is_begun=True)
    assert len(said) == 1
    assert "AP and the best checkpoint are not comparable" in said[0]


def test_dataset_info_first_validation_images_of_a_run_are_no_others(tmp_path: Path, said: list[str]) -> None:
    val = tmp_path / "val-0"
    val.write_bytes(b"1")
    compare_validation(folder_in(tmp_path), shards(), is_begun=False)
    compare_validation(folder_in(tmp_path), shards(val), is_begun=True)
    assert not said
