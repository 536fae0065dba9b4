import errno
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf

from tfrmod import convert as convert_module
from tfrmod import publish, tfrecord_io, write_shards
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.convert import ConvertOptions, convert
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.manifest import CONVERTER, Manifest, count_shards


def images_of(manifest: Manifest, split: str) -> list[AnnotatedImage]:
    files = [manifest.folder / shard.name for shard in manifest.splits[split].files]
    return [decode_example(record) for file in files for record in tfrecord_io.read_records(file)]


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_convert_images_become_shards_with_all_that_belongs_to_them(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(40)
    voc_folder.add("empty", [])
    out = tmp_path / "out"
    steps: list[tuple[str, int, int]] = []
    manifest = convert(voc_folder.root, out, on_progress=lambda *step: steps.append(step))
    assert {name: split.num_images for name, split in manifest.splits.items()} == {"train": 33, "val": 8}
    assert manifest.label_map == {1: "cat", 2: "dog"}
    assert manifest.splits["train"].boxes_per_class == {"cat": 16, "dog": 16}
    assert sum(split.num_negatives for split in manifest.splits.values()) == 1
    assert (manifest.max_instances_per_image, manifest.image_sizes.max_width) == (1, 64)
    assert sorted(os.listdir(out)) == [
        "hparams_config.yaml",
        "manifest.json",
        "problems.jsonl",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "train.txt",
        "val-00000-of-00001.tfrecord",
        "val.txt",
    ]
    manifest.verify()
    assert Manifest.load(out) == manifest
    assert steps[0] == ("checking", 32, 41)
    assert steps[-1] == ("writing", 41, 41)
    names = (out / "train.txt").read_text().splitlines()
    assert sorted(names) == sorted(image.filename for image in images_of(manifest, "train"))
    assert len({image.source_id for split in manifest.splits for image in images_of(manifest, split)}) == 41


def test_convert_records_hold_the_image_unchanged_and_the_boxes_in_their_place(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(4)
    for image in images_of(convert(voc_folder.root, tmp_path / "out"), "train"):
        assert image.encoded == (voc_folder.root / image.filename).read_bytes()
        assert image.objects[0].box[:2] == pytest.approx((5, 5), abs=1e-4)
        assert image.objects[0].class_id == {"cat": 1, "dog": 2}[image.objects[0].name]
        assert tf.io.decode_image(image.encoded).shape == (image.height, image.width, 3)


def test_convert_counts_of_the_manifest_are_those_of_the_shards(voc_folder, tmp_path: Path) -> None:
    manifest = convert(voc_folder.add_many(30).root, tmp_path / "out")
    counts = count_shards(manifest.pattern("train"))
    split = manifest.splits["train"]
    assert (counts.num_images, counts.num_boxes, counts.num_negatives) == (split.num_images, split.num_boxes, 0)
    assert counts.boxes_per_class == split.boxes_per_class
    assert counts.label_map == manifest.label_map


def test_convert_bytes_depend_on_data_and_options_alone(
    voc_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = voc_folder.add_many(70).root
    convert(folder, tmp_path / "one", ConvertOptions(num_workers=1))
    monkeypatch.setattr(convert_module, "_FEW_BYTES", 0)
    convert(folder, tmp_path / "two", ConvertOptions(num_workers=2))
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")
    other = convert(folder, tmp_path / "three", ConvertOptions(num_workers=1, seed=1))
    assert (tmp_path / "three" / "val.txt").read_bytes() != (tmp_path / "one" / "val.txt").read_bytes()
    assert other.options["seed"] == 1


def test_convert_second_run_finds_what_the_first_one_made(
    voc_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = voc_folder.add_many(10).root
    first = convert(folder, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(convert_module, "validate_dataset", None)
        assert convert(folder, tmp_path / "out", ConvertOptions(num_workers=2)) == first
    (tmp_path / "out" / first.splits["val"].files[0].name).unlink()
    convert(folder, tmp_path / "out").verify()


def test_convert_changed_data_or_options_replace_the_shards_and_leave_no_old_ones(voc_folder, tmp_path: Path) -> None:
    folder = voc_folder.add_many(12).root
    convert(folder, tmp_path / "out", ConvertOptions(num_shards=3))
    (tmp_path / "out" / "mine.txt").touch()
    manifest = convert(folder, tmp_path / "out", ConvertOptions(num_shards=2, train_valid_split=1.0))
    assert sorted(name for name in os.listdir(tmp_path / "out") if not name.endswith(("json", "yaml", "jsonl"))) == [
        "mine.txt",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "train.txt",
    ]
    xml = folder / "Annotations" / "0003.xml"
    xml.write_text(xml.read_text().replace("<xmin>5<", "<xmin>6<"))
    assert convert(folder, tmp_path / "out", ConvertOptions(num_shards=2, train_valid_split=1.0)) != manifest


def test_convert_rejects_shards_that_are_in_no_manifest(voc_folder, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train-00000-of-00009.tfrecord").touch()
    with pytest.raises(DatasetError, match=r"1 file in no manifest there \(train-00000-of-00009"):
        convert(voc_folder.add_many(3).root, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["train-00000-of-00009.tfrecord"]


@pytest.mark.parametrize("name", ["manifest.json", "hparams_config.yaml", "problems.jsonl", "val.txt"])
def test_convert_other_files_of_the_names_beside_the_shards_are_not_replaced(
    voc_folder, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(DatasetError, match=rf"1 file in no manifest there \({name} for one\)"):
        convert(voc_folder.add_many(3).root, tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_convert_shards_may_lie_within_the_dataset_but_not_among_the_images(voc_folder) -> None:
    folder = voc_folder.add_many(5).root
    first = convert(folder, folder / "tfrecords")
    assert convert(folder, folder / "tfrecords") == first
    with pytest.raises(DatasetError, match="cannot be among the images"):
        convert(folder, folder)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, {"train": 8, "val": 2}),
        ({"train_valid_split": 1.0}, {"train": 10}),
        ({"train_valid_split": 0.5, "test_split": 0.2}, {"train": 5, "val": 3, "test": 2}),
        ({"train_valid_split": 0.5, "test_split": 0.5}, {"train": 5, "test": 5}),
    ],
)
def test_convert_shares_are_those_asked_for(voc_folder, tmp_path: Path, options, sizes: dict[str, int]) -> None:
    manifest = convert(voc_folder.add_many(10).root, tmp_path / "out", ConvertOptions(**options))
    assert {name: split.num_images for name, split in manifest.splits.items()} == sizes
    assert all((tmp_path / "out" / f"{name}.txt").exists() for name in sizes)


def test_convert_dataset_own_lists_come_first(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(10)
    for name, members in {"train": "012", "val": "34", "trainval": "01234", "test": "567"}.items():
        voc_folder.write(f"ImageSets/Main/{name}.txt", "".join(f"000{member}\n" for member in members))
    manifest = convert(voc_folder.root, tmp_path / "out")
    assert {name: split.num_images for name, split in manifest.splits.items()} == {"train": 5, "val": 3}
    assert manifest.problems["set_not_listed"].count == 2
    manifest = convert(voc_folder.root, tmp_path / "out", ConvertOptions(train_set="train", val_set="val"))
    assert {name: split.num_images for name, split in manifest.splits.items()} == {"train": 3, "val": 2}
    manifest = convert(voc_folder.root, tmp_path / "out", ConvertOptions(image_sets=False))
    assert {name: split.num_images for name, split in manifest.splits.items()} == {"train": 8, "val": 2}
    manifest = convert(voc_folder.root, tmp_path / "out", ConvertOptions(test_split=0.1))
    assert {name: split.num_images for name, split in manifest.splits.items()} == {"train": 5, "val": 2, "test": 1}


def test_convert_image_in_two_lists_is_trained_on_and_not_validated_on(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(4)
    voc_folder.write("ImageSets/Main/train.txt", "0000\n0001\n0002\ngone\n")
    voc_folder.write("ImageSets/Main/val.txt", "0002\n0003\n")
    manifest = convert(voc_folder.root, tmp_path / "out")
    assert (tmp_path / "out" / "val.txt").read_text() == "JPEGImages/0003.jpg\n"
    assert manifest.problems["image_in_two_sets"].files == ("JPEGImages/0002.jpg",)
    assert manifest.problems["set_lists_unknown"].count == 1
    with pytest.raises(DatasetError, match=r"train\.txt \(--val_set\) leaves no usable image.*training list too"):
        convert(voc_folder.root, tmp_path / "out2", ConvertOptions(train_set="train", val_set="train"))


def test_convert_label_map_decides_the_numbers(voc_folder, tmp_path: Path) -> None:
    options = ConvertOptions(label_map={7: "dog", 3: "bird"})
    manifest = convert(voc_folder.add_many(4).root, tmp_path / "out", options)
    assert (manifest.label_map, manifest.num_classes) == ({3: "bird", 7: "dog"}, 7)
    assert manifest.problems["class_not_in_label_map"].count == 2
    assert sum(split.num_negatives for split in manifest.splits.values()) == 2
    assert convert(voc_folder.root, tmp_path / "out", options) == manifest


def messy(voc_folder, encode_image, xml) -> Path:
    voc_folder.add_many(6)
    voc_folder.write("JPEGImages/broken.jpg", encode_image()[:300])
    voc_folder.write("Annotations/broken.xml", xml([("cat", 1, 1, 9, 9)]))
    voc_folder.write("Annotations/orphan.xml", xml())
    voc_folder.write("JPEGImages/alone.jpg", encode_image())
    voc_folder.write("JPEGImages/bad.jpg", encode_image())
    voc_folder.write("Annotations/bad.xml", "<annotation><object>")
    voc_folder.add("outside", [("cat", -9, 5, 99, 30), ("Cat", 7, 7, 7, 7), ("Cat", 9, 9, 3, 3)])
    return voc_folder.root


def test_convert_what_is_wrong_is_left_out_counted_and_listed(voc_folder, tmp_path: Path, encode_image, xml) -> None:
    manifest = convert(messy(voc_folder, encode_image, xml), tmp_path / "out")
    assert {code: (met.count, met.files) for code, met in manifest.problems.items()} == {
        "image_without_annotation": (1, ("JPEGImages/alone.jpg",)),
        "annotation_without_image": (1, ("Annotations/orphan.xml",)),
        "annotation_malformed": (1, ("Annotations/bad.xml",)),
        "image_undecodable": (1, ("JPEGImages/broken.jpg",)),
        "box_outside": (1, ("JPEGImages/outside.jpg",)),
        "box_empty": (1, ("JPEGImages/outside.jpg",)),
        "corners_swapped": (1, ("JPEGImages/outside.jpg",)),
        "class_spelling": (1, ("Cat",)),
    }
    lines = [json.loads(line) for line in (tmp_path / "out" / "problems.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    assert sum(split.num_images for split in manifest.splits.values()) == 7


def test_convert_strict_ends_at_the_first_fault_and_leaves_nothing(
    voc_folder, tmp_path: Path, encode_image, xml
) -> None:
    with pytest.raises(DatasetError, match=r"Annotations/orphan\.xml: .*--strict"):
        convert(messy(voc_folder, encode_image, xml), tmp_path / "out", ConvertOptions(strict=True))
    assert os.listdir(tmp_path / "out") == []


def test_convert_no_usable_image_is_an_error_that_says_why(voc_folder, tmp_path: Path, xml) -> None:
    voc_folder.write("a.jpg", "<html>")
    voc_folder.write("a.xml", xml())
    with pytest.raises(DatasetError, match=r"Of 1 image in .* 1 x a file that cannot be decoded.*a\.jpg"):
        convert(voc_folder.root, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["problems.jsonl"]


def test_convert_no_object_is_an_error(voc_folder, tmp_path: Path) -> None:
    voc_folder.add("a", [])
    with pytest.raises(DatasetError, match="Of 1 image, none has an object"):
        convert(voc_folder.root, tmp_path / "out")


def test_convert_full_disk_leaves_nothing_and_passes_as_it_is(
    voc_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, records: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(write_shards, "write_records", full)
    with pytest.raises(OSError, match="No space") as caught:
        convert(voc_folder.add_many(5).root, tmp_path / "out", ConvertOptions(num_workers=1))
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("count", "asked", "number"),
    [(1, -1, 1), (31, -1, 1), (32, -1, 2), (292, -1, 8), (6400, -1, 8), (6401, -1, 9), (10, 3, 3), (2, 5, 2)],
)
def test_convert_number_of_shards(count: int, asked: int, number: int) -> None:
    assert write_shards.num_shards(count, asked) == number


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train_valid_split": 0.0}, "train_valid_split"),
        ({"train_valid_split": 1.5}, "train_valid_split"),
        ({"test_split": 0.3}, r"here 0\.2 of the images"),
        ({"num_shards": 0}, "num_shards"),
        ({"num_workers": 0}, "num_workers"),
        ({"label_map": {0: "cat"}}, "from 1"),
        ({"label_map": {1: " "}}, "from 1"),
        ({"label_map": {1: "cat", 2: "cat"}}, "more than one id"),
        ({"label_map": {1: "cat"}, "label_aliases": {"kitten": "dog"}}, "not a class of the label map: cat"),
        ({"label_aliases": {"a": "b", "b": "c"}}, "and that into 'c'"),
        ({"label_aliases": {"a": " "}}, "gives a name another one"),
        ({"prepare_size": -1}, "prepare_size"),
        ({"max_images": 0}, "max_images"),
        ({"source_format": "vok"}, "Known: voc"),
    ],
)
def test_convert_options_reject_invalid_values(options, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ConvertOptions(**options)


def test_convert_does_not_import_tensorflow() -> None:
    code = (
        "import sys, tfrmod.convert, tfrmod.download; print(sorted({'tensorflow', 'keras', 'cv2'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_convert_real_images_with_lists_are_converted_as_documented(test_data: Path, tmp_path: Path) -> None:
    from tfrmod.archive import extract

    folder = extract(test_data / "bccd.zip", tmp_path / "bccd")
    manifest = convert(folder, tmp_path / "out", ConvertOptions(num_workers=1))
    assert {name: split.num_images for name, split in manifest.splits.items()} == {"train": 292, "val": 72}
    assert sum(split.num_boxes for split in manifest.splits.values()) == 4886
    assert manifest.max_instances_per_image == 30
    assert {code: met.count for code, met in manifest.problems.items()} == {"box_empty": 2}


def test_convert_trees_with_all_their_edges_are_converted(test_data: Path, tmp_path: Path) -> None:
    from tfrmod.archive import extract

    folder = extract(test_data / "deepforest_trees.zip", tmp_path / "trees")
    manifest = convert(folder, tmp_path / "out")
    assert {code: met.files for code, met in manifest.problems.items()} == {
        "image_without_annotation": ("JPEGImages/OSBS_029.png",),
        "annotation_without_image": ("Annotations/2019_YELL_2_528000_4978000_image_crop2.xml",),
    }
    assert (manifest.label_map, manifest.max_instances_per_image) == ({1: "Alive", 2: "Dead", 3: "Tree"}, 279)


def test_convert_png_frames_named_jpg_are_converted(test_data: Path, tmp_path: Path) -> None:
    from tfrmod.archive import extract

    folder = extract(test_data / "license_plates.zip", tmp_path / "plates")
    keep = {path.stem for path in sorted((folder / "Annotations").iterdir())[:6]}
    for path in [*(folder / "Annotations").iterdir(), *(folder / "JPEGImages").iterdir()]:
        if path.stem not in keep:
            path.unlink()
    manifest = convert(folder, tmp_path / "out", ConvertOptions(num_workers=1, image_sets=False))
    assert sum(split.num_images for split in manifest.splits.values()) == 6
    assert manifest.problems.keys() == {"format_not_as_named"}
    image = images_of(manifest, "train")[0]
    assert (image.format, image.height, image.width) == ("jpeg", 720, 1280)


def test_convert_aliases_are_applied_before_classes_are_counted_and_unknown_ones_are_reported(
    voc_folder, tmp_path: Path
) -> None:
    voc_folder.add_many(12, ("RBC", "rbc", "redcell"))
    aliases = {"rbc": "RBC", "redcell": "RBC", "rbcs": "RBC"}
    manifest = convert(voc_folder.root, tmp_path / "out", ConvertOptions(label_aliases=aliases))
    assert manifest.label_map == {1: "RBC"}
    assert {code: met.files for code, met in manifest.problems.items()} == {"alias_without_object": ("rbcs",)}
    assert convert(voc_folder.root, tmp_path / "out", ConvertOptions(label_aliases=aliases)) == manifest


def test_convert_oversize_images_are_made_smaller_once(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(4)
    whole = images_of(convert(voc_folder.root, tmp_path / "whole"), "train")
    small = images_of(convert(voc_folder.root, tmp_path / "small", ConvertOptions(prepare_size=32)), "train")
    assert [(image.height, image.width) for image in small] == [(24, 32)] * 3
    for one, other in zip(small, whole, strict=True):
        assert one.objects[0].box == pytest.approx([side / 2 for side in other.objects[0].box])
        assert one.sha256 == hashlib.sha256(one.encoded).hexdigest() != other.sha256


def test_convert_unverified_images_give_the_same_records_but_damage_is_not_found(
    voc_folder, tmp_path: Path, encode_image
) -> None:
    voc_folder.add_many(10)
    verified = convert(voc_folder.root, tmp_path / "one")
    trusted = convert(voc_folder.root, tmp_path / "two", ConvertOptions(verify=False))
    assert images_of(trusted, "train") == images_of(verified, "train")
    data = bytearray(encode_image("PNG"))
    data[len(data) // 2] ^= 1
    voc_folder.write("JPEGImages/0003.jpg", bytes(data))
    damaged = convert(voc_folder.root, tmp_path / "two", ConvertOptions(verify=False)).problems
    assert damaged.keys() == {"format_not_as_named"}
    damaged = convert(voc_folder.root, tmp_path / "one").problems
    assert damaged.keys() == {"image_undecodable"}


def test_convert_first_images_alone(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(10)
    for name, members in {"trainval": "0129", "test": "348"}.items():
        voc_folder.write(f"ImageSets/Main/{name}.txt", "".join(f"000{member}\n" for member in members))
    manifest = convert(voc_folder.root, tmp_path / "out", ConvertOptions(max_images=5))
    assert {name: split.num_images for name, split in manifest.splits.items()} == {"train": 3, "val": 2}


def test_convert_copies_of_a_image_are_on_one_side(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(20)
    for index in range(0, 20, 2):
        checked_image = (voc_folder.root / f"JPEGImages/{index:04d}.jpg").read_bytes()
        (voc_folder.root / f"JPEGImages/{index + 1:04d}.jpg").write_bytes(checked_image)
    manifest = convert(voc_folder.root, tmp_path / "out", ConvertOptions(train_valid_split=0.5))
    sides = [{image.sha256 for image in images_of(manifest, name)} for name in ("train", "val")]
    assert not sides[0] & sides[1]
    assert manifest.splits["train"].num_images == 10


def test_convert_manifest_says_what_is_there(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(6)
    voc_folder.add("two", [("cat", 1, 1, 9, 9), ("cat", 2, 2, 9, 9)])
    manifest = convert(voc_folder.root, tmp_path / "out", ConvertOptions(train_valid_split=1.0))
    train = manifest.splits["train"]
    assert (train.boxes_per_class, train.images_per_class) == ({"cat": 5, "dog": 3}, {"cat": 4, "dog": 3})
    assert train.num_bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tfrecord"))
    assert (manifest.image_sizes.min_height, manifest.image_sizes.max_width) == (48, 64)
    assert (manifest.has_masks, manifest.converter) == (False, CONVERTER)
    masked = convert(voc_folder.root, tmp_path / "out", ConvertOptions(include_masks=True))
    assert not masked.has_masks
    assert masked.problems["masks_absent"].files == ("data",)


def test_convert_shards_of_another_converter_are_made_anew(
    voc_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voc_folder.add_many(4)
    convert(voc_folder.root, tmp_path / "out")
    monkeypatch.setattr(publish, "CONVERTER", "other")
    steps: list[str] = []
    convert(voc_folder.root, tmp_path / "out", on_progress=lambda what, *_: steps.append(what))
    assert steps == ["checking", "writing", "writing"]


def test_convert_two_at_once_make_the_shards_once(voc_folder, tmp_path: Path) -> None:
    voc_folder.add_many(20)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: convert(voc_folder.root, tmp_path / "out"), range(2)))
    assert made[0] == made[1]
    made[0].verify()


def test_convert_more_classes_than_are_supported_are_refused(
    voc_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_module, "MAX_CLASSES", 1)
    with pytest.raises(DatasetError, match=r"name 2 classes, where 1 are the most .* cat, dog"):
        convert(voc_folder.add_many(2).root, tmp_path / "out", ConvertOptions(num_workers=1))
