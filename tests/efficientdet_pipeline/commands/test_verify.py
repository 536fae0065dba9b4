"""--mode=verify: printed text and exit codes."""

from pathlib import Path

import pytest

from efficientdet_pipeline.cli import main
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.example import encode_example
from tfrmod.manifest import Manifest, SplitInfo
from tfrmod.tfrecord_io import shard_name, write_records


def verify(*arguments: str) -> int:
    return main(["--mode=verify", *arguments])


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Returns a folder of four shards in two splits, with their manifest."""
    folder = tmp_path / "shards"
    folder.mkdir()
    splits = {}
    for name in ("train", "val"):
        images = [AnnotatedImage(filename="a.jpg", height=4, width=4, encoded=bytes([number])) for number in range(5)]
        files = tuple(
            write_records(folder / shard_name(name, index, 2), map(encode_example, images)) for index in range(2)
        )
        splits[name] = SplitInfo(files=files, num_images=10, num_boxes=0, num_negatives=10, boxes_per_class={})
    manifest = Manifest(source="", options={}, label_map={}, splits=splits, max_instances_per_image=0)
    manifest.save(folder / "manifest.json")
    return folder


@pytest.mark.parametrize("flag", ["--output_path={}", "--file_pattern={}", "--num_workers=2 --file_pattern={}"])
def test_whole_shards_get_a_line_a_split(shards: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(*flag.format(shards).split()) == 0
    assert capsys.readouterr().out == "train 2 shards, 10 records: intact\nval   2 shards, 10 records: intact\n"


def test_damage_is_named_and_ends_with_65(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shards / "val-00001-of-00002.tfrecord"
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    (shards / "train-00000-of-00002.tfrecord").unlink()
    assert verify(f"--output_path={shards}") == 65
    said = capsys.readouterr()
    assert "train 2 shards, 5 records: 1 DAMAGED" in said.out
    assert "val   2 shards, 9 records: 1 DAMAGED" in said.out
    assert f"{path}: record 0 (counted from 0, at byte 0): the checksum of its data is wrong" in said.err
    assert "error: 2 of 4 shards are damaged: train-00000-of-00002.tfrecord, val-00001" in said.err


@pytest.mark.parametrize("flag", ["--output_path={}", "--file_pattern={}/train-*"])
def test_shards_without_a_manifest(shards: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    (shards / "manifest.json").unlink()
    assert verify(flag.format(shards)) == 0
    assert "In no manifest, and verified by record checksums alone: " in capsys.readouterr().out


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(f"--file_pattern={tmp_path}/none-*") == 66
    assert verify(f"--output_path={tmp_path}") == 66
    assert verify(f"--workspace={tmp_path}") == 66
    assert verify("--output_path=a", "--file_pattern=b") == 2
    assert capsys.readouterr().err.count("error: ") == 4


@pytest.mark.parametrize(("pattern", "code"), [("*", 65), ("train-*-of-00002.tfrecord", 65), ("train-00001*", 0)])
def test_a_shard_that_the_others_promise_is_missed(
    shards: Path, pattern: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (shards / "manifest.json").unlink()
    (shards / "train-00000-of-00002.tfrecord").unlink()
    assert verify(f"--file_pattern={shards}/{pattern}") == code
    assert ("train-00000-of-00002.tfrecord: is missing" in capsys.readouterr().err) == (code == 65)
