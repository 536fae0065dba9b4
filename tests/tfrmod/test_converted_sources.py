"""Tests of the conversion of formats other than VOC, read with TensorFlow like google/automl's reader."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pycocotools.coco import COCO

from tfrmod.archive import extract
from tfrmod.convert import ConvertOptions, convert
from tfrmod.errors import DatasetError
from tfrmod.manifest import Manifest
from tfrmod.masks import array_png
from tfrmod.tfrecord_io import read_records


def parsed(manifest: Manifest, split: str) -> list[dict[str, Any]]:
    """Returns the records of a split by the keys and types of automl's TfExampleDecoder."""
    text, floats, ints = tf.io.VarLenFeature(tf.string), tf.io.VarLenFeature(tf.float32), tf.io.VarLenFeature(tf.int64)
    features = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string),
        "image/source_id": tf.io.FixedLenFeature((), tf.string, ""),
        "image/object/class/label": ints,
        "image/object/area": floats,
        "image/object/is_crowd": ints,
        "image/object/mask": text,
        "image/segmentation/class/encoded": tf.io.FixedLenFeature((), tf.string, ""),
    } | {f"image/object/bbox/{side}": floats for side in ("ymin", "xmin", "ymax", "xmax")}
    records = []
    for shard in manifest.splits[split].files:
        for record in read_records(manifest.folder / shard.name):
            example = tf.io.parse_single_example(record, features)
            dense = {
                key: (tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value).numpy()
                for key, value in example.items()
            }
            boxes = [dense[f"image/object/bbox/{side}"] for side in ("ymin", "xmin", "ymax", "xmax")]
            records.append(dense | {"boxes": np.stack(boxes, -1)})
    return records


def test_converted_sources_coco_keeps_its_ids_crowds_and_areas(test_data: Path, tmp_path: Path) -> None:
    folder = extract(test_data / "coco_permissive.zip", tmp_path / "data")
    truth = json.loads((folder / "annotations/instances_val.json").read_bytes())
    manifest = convert(folder, tmp_path / "records", ConvertOptions(num_workers=1))
    assert (len(manifest.label_map), manifest.num_classes, manifest.label_map[90]) == (80, 90, "toothbrush")
    records = {int(record["image/source_id"]): record for record in parsed(manifest, "val")}
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    assert records.keys() == sizes.keys()
    for number, (height, width) in sizes.items():
        annotations = [annotation for annotation in truth["annotations"] if annotation["image_id"] == number]
        record = records[number]
        labels, crowds = record["image/object/class/label"], record["image/object/is_crowd"]
        assert labels.tolist() == [annotation["category_id"] for annotation in annotations]
        assert crowds.tolist() == [annotation["iscrowd"] for annotation in annotations]
        areas = [annotation["area"] for annotation in annotations]
        np.testing.assert_allclose(record["image/object/area"], areas, rtol=1e-6)
        boxes = [(y, x, y + h, x + w) for x, y, w, h in (annotation["bbox"] for annotation in annotations)]
        # Rounding carries some of COCO's boxes over the edge by less than a hundredth of a pixel; they are clipped.
        found = record["boxes"] * [height, width, height, width]
        np.testing.assert_allclose(found, np.reshape(boxes, (-1, 4)), atol=0.02)


def test_converted_sources_outlines_become_the_masks_that_pycocotools_draws(test_data: Path, tmp_path: Path) -> None:
    folder = extract(test_data / "fruits_nuts_coco.zip", tmp_path / "data")
    truth = COCO(str(folder / "annotations/instances_trainval.json"))
    options = ConvertOptions(include_masks=True, train_valid_split=1.0, num_workers=1)
    records = parsed(convert(folder, tmp_path / "records", options), "train")
    assert len(records) == len(truth.imgs)
    for record in records:
        annotations = truth.imgToAnns[int(record["image/source_id"])]
        masks = [tf.io.decode_png(mask, channels=1)[..., 0] for mask in record["image/object/mask"]]
        np.testing.assert_array_equal(masks, [truth.annToMask(annotation) for annotation in annotations])


def test_converted_sources_masks_of_a_turned_and_shrunk_image_lie_under_its_boxes(tmp_path: Path, encode_image) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encode_image(size=(48, 64), orientation=6))
    box, outline = [10, 5, 20, 30], [10, 5, 30, 5, 30, 35, 10, 35]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 48, "width": 64}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": [outline]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder / "train.json").write_text(json.dumps(content))
    options = ConvertOptions(include_masks=True, prepare_size=32, train_valid_split=1.0, num_workers=1)
    [record] = parsed(convert(folder, tmp_path / "records", options), "train")
    picture = tf.io.decode_image(record["image/encoded"], channels=3)
    pixels = tf.io.decode_png(record["image/object/mask"][0])[..., 0].numpy()
    assert picture.shape[:2] == pixels.shape == (32, 24)
    # Turned a quarter clockwise: left is where the bottom was.
    np.testing.assert_allclose(record["boxes"] * [32, 24, 32, 24], [[5, 6.5, 15, 21.5]], atol=1e-4)
    down, across = np.nonzero(pixels)
    np.testing.assert_allclose([down.min(), across.min(), down.max() + 1, across.max() + 1], [5, 6.5, 15, 21.5], atol=1)


@pytest.mark.parametrize("is_asked", [True, False])
def test_converted_sources_masks_of_classes_alone_are_enough_where_they_are_asked_for(
    tmp_path: Path, encode_image, is_asked: bool
) -> None:
    folder, mask = tmp_path / "data", np.zeros((48, 64), np.uint8)
    mask[10:20, 30:40] = 1
    for stem in "ab":
        for kind, content in (("images", encode_image()), ("masks", array_png(mask))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{stem}.png").write_bytes(content)
    options = ConvertOptions(include_masks=is_asked, num_workers=1)
    if not is_asked:
        with pytest.raises(DatasetError, match=r"Of 2 images, none has an object .* --include_masks"):
            convert(folder, tmp_path / "records", options)
        return
    manifest = convert(folder, tmp_path / "records", options)
    [record] = parsed(manifest, "val")
    assert manifest.label_map == {1: "object"}
    np.testing.assert_array_equal(tf.io.decode_png(record["image/segmentation/class/encoded"])[..., 0], mask)


@pytest.mark.parametrize("kind", ["yolo", "csv"])
def test_converted_sources_shares_are_the_same_in_the_record(tmp_path: Path, encode_image, kind: str) -> None:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for stem in "ab":
        (folder / f"images/{stem}.jpg").write_bytes(encode_image())
        if kind == "yolo":
            (folder / f"labels/{stem}.txt").write_text("1 0.5 0.25 0.25 0.5\n")
    rows = "".join(
        f"{word},gs://b/{stem}.jpg,dog,0.375,0,,,0.625,0.5,,\n" for word, stem in (("TRAIN", "a"), ("VALIDATION", "b"))
    )
    if kind == "csv":
        (folder / "all.csv").write_text(rows)
    else:
        (folder / "data.yaml").write_text("names: [cat, dog]")
    manifest = convert(folder, tmp_path / "records", ConvertOptions(num_workers=1, train_valid_split=0.5))
    assert manifest.label_map == ({1: "cat", 2: "dog"} if kind == "yolo" else {1: "dog"})
    for split in ("train", "val"):
        [record] = parsed(manifest, split)
        np.testing.assert_allclose(record["boxes"], [[0, 0.375, 0.5, 0.625]], atol=1e-7)
        assert record["image/object/class/label"].tolist() == [max(manifest.label_map)]


def test_converted_sources_images_without_labels_become_records(tmp_path: Path, encode_image) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for stem in "abc":
        (folder / f"{stem}.jpg").write_bytes(encode_image())
    manifest = convert(folder, tmp_path / "records", ConvertOptions(source_format="photos", num_workers=1))
    assert sum(split.num_images for split in manifest.splits.values()) == 3
    assert manifest.label_map == {}
