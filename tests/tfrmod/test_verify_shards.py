"""Tests of the verification of shards."""

from pathlib import Path

import pytest

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.example import encode_example
from tfrmod.manifest import Manifest, SplitInfo
from tfrmod.tfrecord_io import ShardInfo, scan_records, write_records
from tfrmod.verify_shards import known_shards, shard_report


@pytest.fixture
def shard(tmp_path: Path) -> ShardInfo:
    images = [AnnotatedImage(filename=f"{number}.jpg", height=4, width=4, encoded=b"photo") for number in range(4)]
    return write_records(tmp_path / "train-00000-of-00001.tfrecord", map(encode_example, images))


def damaged(path: Path, *positions: int) -> Path:
    data = bytearray(path.read_bytes())
    for position in positions:
        data[position] ^= 1
    path.write_bytes(data)
    return path


def test_verify_shards_whole_shard_has_no_faults(tmp_path: Path, shard: ShardInfo) -> None:
    path = tmp_path / shard.name
    assert shard_report(path, shard) == (shard_report(path, None))
    assert shard_report(path, shard).num_records == 4
    assert shard_report(path, shard).faults == ()


def test_verify_shards_every_damaged_record_is_placed(tmp_path: Path, shard: ShardInfo) -> None:
    path = tmp_path / shard.name
    offsets = [each.offset for each in scan_records(path)]
    damaged(path, offsets[1] + 20, offsets[3] + 20)
    report = shard_report(path, shard)
    assert report.num_records == 2
    assert report.faults == (
        f"record 1 (counted from 0, at byte {offsets[1]}): the checksum of its data is wrong",
        f"record 3 (counted from 0, at byte {offsets[3]}): the checksum of its data is wrong",
    )


def test_verify_shards_another_file_of_the_same_size_is_not_taken_for_the_shard(
    tmp_path: Path, shard: ShardInfo
) -> None:
    images = [AnnotatedImage(filename=f"{number}.jpg", height=4, width=4, encoded=b"other") for number in range(4)]
    write_records(tmp_path / shard.name, map(encode_example, images))
    (fault,) = shard_report(tmp_path / shard.name, shard).faults
    assert fault.startswith("has other content")
    assert shard_report(tmp_path / shard.name, None).faults == ()


def test_verify_shards_stops_at_a_damaged_length(tmp_path: Path, shard: ShardInfo) -> None:
    path = tmp_path / shard.name
    offset = [each.offset for each in scan_records(path)][2]
    report = shard_report(damaged(path, offset), None)
    assert report.num_records == 2
    assert report.faults == (f"record 2 (counted from 0, at byte {offset}): the checksum of its length is wrong",)


def test_verify_shards_file_cut_short_or_gone(tmp_path: Path, shard: ShardInfo) -> None:
    path = tmp_path / shard.name
    path.write_bytes(path.read_bytes()[:-1])
    stated, framing = shard_report(path, shard).faults
    assert stated == f"has {shard.num_bytes - 1} bytes instead of {shard.num_bytes}"
    assert "record 3" in framing
    assert "the file ends before" in framing
    path.unlink()
    assert shard_report(path, shard).faults == shard_report(path, None).faults == ("is missing",)


def test_verify_shards_records_that_are_no_examples(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tfrecord", [b"\xff\xff\xff"])
    (fault,) = shard_report(tmp_path / "a.tfrecord", None).faults
    assert fault.startswith("record 0 (counted from 0, at byte 0): A record of 3 bytes is not a tf.train.Example")


def test_verify_shards_manifests_beside_the_files_are_found(tmp_path: Path, shard: ShardInfo) -> None:
    split = SplitInfo(files=(shard,), num_images=4, num_boxes=0, num_negatives=4, boxes_per_class={})
    manifest = Manifest(source="", options={}, label_map={}, splits={"train": split}, max_instances_per_image=0)
    manifest.save(tmp_path / "any-manifest.json")
    (tmp_path / "broken-manifest.json").write_text("{")
    files = [tmp_path / shard.name, tmp_path / "other.tfrecord"]
    assert known_shards(files) == {files[0]: shard}
