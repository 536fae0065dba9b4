"""Tests of continuing a stopped conversion: only valid results are reused."""

import os
from pathlib import Path

import pytest

from tfrmod import validate, write_shards
from tfrmod.convert import ConvertOptions, convert
from tfrmod.example import decode_example
from tfrmod.tfrecord_io import read_records


class Stopped(Exception):
    pass


def stopped(function, after: int):
    """Returns the function, which raises instead of working from the call with that number on."""
    calls = []

    def limited(*args: object) -> object:
        calls.append(args)
        if len(calls) > after:
            raise Stopped
        return function(*args)

    limited.calls = calls
    return limited


@pytest.fixture
def interrupted(voc_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, ConvertOptions]:
    """Returns data, output and options of a conversion that was stopped after five of its six shards."""
    options = ConvertOptions(num_workers=1, num_shards=3)
    data = voc_folder.add_many(70).root
    voc_folder.write("JPEGImages/turned.jpg", (data / "JPEGImages/0001.jpg").read_bytes())
    convert(data, tmp_path / "whole", options)
    with monkeypatch.context() as patch:
        patch.setattr(write_shards, "write_records", stopped(write_shards.write_records, 5))
        with pytest.raises(Stopped):
            convert(data, tmp_path / "out", options)
    assert os.listdir(tmp_path / "out") == [".conversion"]
    return data, tmp_path / "out", options


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[list, list]:
    """Returns two lists, of the chunks that are validated and the shards that are written from now on."""
    validating, writing = stopped(validate.validate_images, 99), stopped(write_shards.write_records, 99)
    monkeypatch.setattr(validate, "validate_images", validating)
    monkeypatch.setattr(write_shards, "write_records", writing)
    return validating.calls, writing.calls


def test_resume_what_was_done_is_not_done_again(interrupted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examined, written = counted(monkeypatch)
    convert(*interrupted).verify()
    assert (len(examined), len(written)) == (0, 1)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_resume_what_is_damaged_is_done_again(interrupted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = tmp_path / "out" / ".conversion"
    chunk = sorted(staging.glob("chunks-*/*.chunk"))[1]
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"!")
    shard = sorted(staging.glob("shards-*/train-*"))[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    next(staging.glob("notes-*/train-00001*")).write_text("{}")
    examined, written = counted(monkeypatch)
    convert(*interrupted).verify()
    assert (len(examined), len(written)) == (1, 3)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_resume_image_touched_in_between_is_looked_at_again(
    interrupted, monkeypatch: pytest.MonkeyPatch, encode_image
) -> None:
    data = interrupted[0]
    changed = data / "JPEGImages" / "0040.jpg"
    size = changed.stat().st_size
    content = next(content for seed in range(999) if len(content := encode_image(seed=seed + 500)) <= size)
    changed.write_bytes(content + bytes(size - len(content)))
    examined, _ = counted(monkeypatch)
    manifest = convert(*interrupted)
    assert len(examined) == 1
    records = [record for shard in manifest.folder.glob("*.tfrecord") for record in read_records(shard)]
    assert changed.read_bytes() in [decode_example(record).encoded for record in records]


def test_resume_other_options_keep_what_they_share(interrupted, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out, _ = interrupted
    examined, written = counted(monkeypatch)
    manifest = convert(data, out, ConvertOptions(num_workers=1, num_shards=2, train_valid_split=0.5))
    assert (len(examined), len(written)) == (0, 4)
    assert {name: split.num_images for name, split in manifest.splits.items()} == {"train": 35, "val": 35}


def test_resume_other_images_share_nothing(interrupted, voc_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out, options = interrupted
    voc_folder.add("more")
    examined, written = counted(monkeypatch)
    convert(data, out, options).verify()
    assert (len(examined), len(written)) == (3, 6)
    assert not (out / ".conversion").exists()
