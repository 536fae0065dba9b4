"""Tests of shards with a prefix, as written by google/automl's converters."""

import functools
import json
import os
from pathlib import Path

import pytest
import tensorflow as tf

from tfrmod.automl_converters import convert_to_prefix, gather_coco, gather_voc
from tfrmod.convert import ConvertOptions
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.manifest import Manifest
from tfrmod.tfrecord_io import read_records


@pytest.fixture
def kit(tmp_path: Path, voc_in) -> Path:
    folder = voc_in(tmp_path / "kit" / "VOC2012").add_many(9)
    folder.write("ImageSets/Main/train.txt", "".join(f"{number:04d}\n" for number in (5, 3, 1, 0, 2)))
    folder.write("ImageSets/Main/val.txt", "0004\n0007\n")
    return tmp_path / "kit"


def converted(kit: Path, prefix: Path, set_name: str, **options) -> Manifest:
    gather = functools.partial(gather_voc, kit, years=["VOC2012"], set_name=set_name)
    return convert_to_prefix(lambda place: gather(place) and None, prefix, ConvertOptions(**options), writes_truth=True)


def names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_automl_converters_two_sets_lie_side_by_side(kit: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train = converted(kit, out / "pascal_train", "train", num_shards=2)
    val = converted(kit, out / "pascal_val", "val", num_shards=1)
    assert names_in(out) == [
        "json_pascal_train.json",
        "json_pascal_val.json",
        "pascal_train-00000-of-00002.tfrecord",
        "pascal_train-00001-of-00002.tfrecord",
        "pascal_train-manifest.json",
        "pascal_train-problems.jsonl",
        "pascal_val-00000-of-00001.tfrecord",
        "pascal_val-manifest.json",
        "pascal_val-problems.jsonl",
    ]
    assert (train.splits["pascal_train"].num_images, val.splits["pascal_val"].num_images) == (5, 2)
    for made in (train, val):
        made.verify()
    assert train.pattern("pascal_train") == str(out / "pascal_train-*-of-00002.tfrecord")


def test_automl_converters_reader_of_automls_keys_and_the_truth_beside_agree(kit: Path, tmp_path: Path) -> None:
    made = converted(kit, tmp_path / "out" / "pascal", "train", num_shards=2)
    truth = json.loads((tmp_path / "out" / "json_pascal.json").read_text())
    keys = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string),
        "image/source_id": tf.io.FixedLenFeature((), tf.string, ""),
        "image/height": tf.io.FixedLenFeature((), tf.int64, -1),
        "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
        "image/object/class/label": tf.io.VarLenFeature(tf.int64),
    }
    seen = {}
    for record in tf.data.TFRecordDataset(tf.io.gfile.glob(made.pattern("pascal"))):
        example = tf.io.parse_single_example(record, keys)
        assert tf.io.decode_image(example["image/encoded"], channels=3).shape == (48, 64, 3)
        seen[int(example["image/source_id"].numpy())] = example["image/object/class/label"].values.numpy().tolist()
    assert {image["id"] for image in truth["images"]} == seen.keys()
    assert len(truth["annotations"]) == 5
    for annotation in truth["annotations"]:
        assert seen[annotation["image_id"]] == [annotation["category_id"]]
        assert annotation["bbox"][:2] == [5, 5]
    assert [category["name"] for category in truth["categories"]] == ["background", "cat", "dog"]
    assert sorted(image["file_name"] for image in truth["images"]) == [
        f"{number:04d}.jpg" for number in (0, 1, 2, 3, 5)
    ]


def test_automl_converters_second_call_writes_nothing_and_other_options_write_anew(kit: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = converted(kit, out / "p", "train", num_shards=3)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert converted(kit, out / "p", "train", num_shards=3) == first
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    converted(kit, out / "p", "train", num_shards=2)
    assert [name for name in names_in(out) if name.endswith(".tfrecord")] == [
        f"p-0000{index}-of-00002.tfrecord" for index in range(2)
    ]
    (out / "p-00001-of-00002.tfrecord").unlink()
    converted(kit, out / "p", "train", num_shards=2).verify()


def test_automl_converters_reject_shards_that_are_in_no_manifest(kit: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "p-00000-of-00032.tfrecord").touch()
    with pytest.raises(DatasetError, match=r"1 file with that prefix in no manifest"):
        converted(kit, tmp_path / "out" / "p", "train")
    assert names_in(tmp_path / "out") == ["p-00000-of-00032.tfrecord"]


@pytest.mark.parametrize("name", ["p-manifest.json", "p-problems.jsonl", "json_p.json"])
def test_automl_converters_other_files_of_the_names_beside_the_shards_are_not_replaced(
    kit: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(DatasetError, match=rf"1 file with that prefix in no manifest \({name}"):
        converted(kit, tmp_path / "out" / "p", "train")
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_automl_converters_kill_while_the_files_come_in(
    kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    moved = []

    def killed(self: Path, target: Path) -> Path:
        if Path(target).parent == out and Path(target).suffix == ".tfrecord":
            moved.append(target)
            if len(moved) == 2:
                raise KeyboardInterrupt
        return original(self, target)

    original = Path.replace
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            converted(kit, out / "p", "train", num_shards=3)
    with pytest.raises(DatasetError, match="is missing"):
        Manifest.load(out / "p-manifest.json").verify()
    converted(kit, out / "p", "train", num_shards=2).verify()
    assert [name for name in names_in(out) if name.endswith(".tfrecord")] == [
        f"p-0000{index}-of-00002.tfrecord" for index in range(2)
    ]


def test_automl_converters_coco_goes_to_one_set_with_its_own_ids(test_data: Path, tmp_path: Path) -> None:
    from tfrmod.archive import extract

    data = extract(test_data / "coco_permissive.zip", tmp_path / "coco")
    gather = functools.partial(gather_coco, data / "val", data / "annotations" / "instances_val.json")
    made = convert_to_prefix(gather, tmp_path / "out" / "val", ConvertOptions(num_shards=4))
    truth = json.loads((data / "annotations" / "instances_val.json").read_text())
    found = [
        decode_example(record) for shard in sorted((tmp_path / "out").glob("val-0*")) for record in read_records(shard)
    ]
    assert {image.source_id for image in found} == {str(image["id"]) for image in truth["images"]}
    assert {thing.class_id for image in found for thing in image.objects} <= {
        each["id"] for each in truth["categories"]
    }
    assert (len(found), made.num_classes) == (57, 90)
    assert sum(len(image.objects) for image in found) == 517
