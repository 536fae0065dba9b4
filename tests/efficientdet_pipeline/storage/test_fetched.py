"""Local copies: fetched once, again after a change, and never outside of their folder."""

from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.errors import DataError, MissingError
from efficientdet_pipeline.storage.fetched import UPLOADING, fetch, fetch_matching
from efficientdet_pipeline.storage.object_store import ObjectStore


def test_fetch_copies_an_object_by_its_tag(store: ObjectStore, memory: Any, tmp_path: Path) -> None:
    store.write("gs://b/data/images.zip", b"zip")
    first = fetch(store, "gs://b/data/images.zip", tmp_path)
    assert (first.name, first.read_bytes()) == ("images.zip", b"zip")
    memory.get_file = None  # Nothing is fetched twice.
    assert fetch(store, "gs://b/data/images.zip", tmp_path) == first
    del memory.get_file
    store.write("gs://b/data/images.zip", b"new")
    second = fetch(store, "gs://b/data/images.zip", tmp_path)
    assert (second.name, second.read_bytes()) == ("images.zip", b"new")
    assert first.read_bytes() == b"zip"


def test_fetch_copies_a_folder(store: ObjectStore, tmp_path: Path) -> None:
    for name in ("saved_model.pb", "variables/a.index"):
        store.write(f"gs://b/export/saved_model/{name}", name.encode())
    found = fetch(store, "gs://b/export/saved_model/", tmp_path)
    assert found.name == "saved_model"
    assert (found / "variables" / "a.index").read_bytes() == b"variables/a.index"


def test_fetch_matching_copies_what_a_glob_means(store: ObjectStore, tmp_path: Path) -> None:
    for name in ("train-0", "train-1", "val-0"):
        store.write(f"s3://b/shards/{name}", name.encode())
    pattern = fetch_matching(store, "s3://b/shards/train-*", tmp_path)
    assert sorted(path.name for path in Path(pattern).parent.glob("*")) == ["train-0", "train-1"]
    assert pattern.endswith("/train-*")
    with pytest.raises(MissingError, match=r"No object matches s3://b/shards/test-\*"):
        fetch_matching(store, "s3://b/shards/test-*", tmp_path)


def test_fetch_refuses_what_is_not_there_incomplete_or_hostile(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="There is nothing at gs://b/none"):
        fetch(store, "gs://b/none", tmp_path)
    store.write("gs://b/export/a", b"x")
    store.write(f"gs://b/export/{UPLOADING}", b"")
    with pytest.raises(DataError, match="gs://b/export is incomplete"):
        fetch(store, "gs://b/export", tmp_path)
    store.write("gs://b/evil/x/../../../a", b"x")
    with pytest.raises(DataError, match="cannot be one of a file"):
        fetch(store, "gs://b/evil", tmp_path)
