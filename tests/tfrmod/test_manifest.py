import json
from pathlib import Path

import pytest

from tfrmod import tfrecord_io
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.errors import DatasetError
from tfrmod.example import encode_example
from tfrmod.manifest import ImageSizes, Manifest, SplitInfo, count_shards, shard_files
from tfrmod.problems import ProblemCount


def record(*things: tuple[int, str]) -> bytes:
    objects = tuple(AnnotatedObject(name, (0, 0, 1, 1), class_id) for class_id, name in things)
    return encode_example(AnnotatedImage(filename="a.jpg", objects=objects, height=2, width=2, encoded=b"x"))


def made(folder: Path) -> Manifest:
    info = tfrecord_io.write_records(folder / "train-00000-of-00001.tfrecord", [record((1, "cat")), record()])
    split = SplitInfo(files=(info,), num_images=2, num_boxes=1, num_negatives=1, boxes_per_class={"cat": 1})
    return Manifest(
        source="s",
        options={"seed": 1},
        label_map={1: "cat"},
        splits={"train": split},
        max_instances_per_image=1,
        image_sizes=ImageSizes(median_height=2, median_width=2, max_height=2, max_width=2),
        problems={"box_empty": ProblemCount(3, ("a.xml",))},
        folder=folder,
    )


def test_manifest_comes_back_equal(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    manifest.save(tmp_path / "manifest.json")
    loaded = Manifest.load(tmp_path)
    assert loaded == manifest == Manifest.load(tmp_path / "manifest.json")
    assert loaded.folder == tmp_path
    assert loaded.pattern("train") == str(tmp_path / "train-*-of-00001.tfrecord")
    assert loaded.num_classes == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', '{"version": 2, "splits": 3}', "\ufeff{"])
def test_manifest_what_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DatasetError, match="not a manifest"):
        Manifest.load(tmp_path)


def test_manifest_another_version_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no manifest") as caught:
        Manifest.load(tmp_path)
    assert caught.value.missing
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(DatasetError, match="version 99"):
        Manifest.load(tmp_path)


def test_manifest_verify_names_what_is_not_as_written(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    manifest.verify()
    shard = tmp_path / "train-00000-of-00001.tfrecord"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + b"!")
    manifest.verify(contents=False)
    with pytest.raises(
        DatasetError, match=r"other content: in record 1, at byte [0-9]+, the checksum of its data is wrong"
    ):
        manifest.verify()
    tfrecord_io.write_records(shard, [record((1, "dog")), record()])
    with pytest.raises(DatasetError, match="other content, though the checksums"):
        manifest.verify()
    shard.write_bytes(data[:-1])
    with pytest.raises(DatasetError, match="bytes instead of"):
        manifest.verify(contents=False)
    shard.unlink()
    with pytest.raises(DatasetError, match="is missing"):
        manifest.verify()


def test_manifest_shards_without_a_manifest_are_counted(tmp_path: Path) -> None:
    tfrecord_io.write_records(
        tmp_path / "coco-00000-of-00002.tfrecord", [record((3, "dog"), (3, "dog"), (90, "")), record()]
    )
    tfrecord_io.write_records(tmp_path / "coco-00001-of-00002.tfrecord", [record((3, "dog"))])
    counts = count_shards(f"{tmp_path}/coco-*, {tmp_path}/coco-00000*")
    assert (counts.num_images, counts.num_boxes, counts.num_negatives) == (3, 4, 1)
    assert counts.label_map == {3: "dog", 90: "90"}
    assert counts.boxes_per_class == {"dog": 3, "90": 1}
    assert (counts.num_classes, counts.max_instances_per_image, len(counts.files)) == (90, 3, 2)


def test_manifest_pattern_without_files_names_similar_ones(tmp_path: Path) -> None:
    (tmp_path / "train-00000-of-00001.tfrecord").touch()
    with pytest.raises(DatasetError, match=r"Similar names there: train-00000-of-00001\.tfrecord") as caught:
        count_shards(f"{tmp_path}/trian-*.tfrecord")
    assert caught.value.missing
    with pytest.raises(DatasetError, match="does not exist"):
        count_shards(f"{tmp_path}/nowhere/train-*")
    with pytest.raises(DatasetError, match="names no shards"):
        count_shards(" , ")


def test_manifest_damaged_record_is_named(tmp_path: Path) -> None:
    tfrecord_io.write_records(tmp_path / "a.tfrecord", [record((1, "cat")), b"\xff\xff\xff"])
    with pytest.raises(DatasetError, match=r"a\.tfrecord, record 1: .*not a tf\.train\.Example"):
        count_shards(str(tmp_path / "a.tfrecord"))


def test_shard_files_lists_beside_shards_are_no_shards(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001.tfrecord", "train-1", "train.txt", "train.json"):
        (tmp_path / name).touch()
    found = shard_files(str(tmp_path / "train*"))
    assert [path.name for path in found] == ["train-00000-of-00001.tfrecord", "train-1"]
    assert [path.name for path in shard_files(str(tmp_path / "train.txt"))] == ["train.txt"]
