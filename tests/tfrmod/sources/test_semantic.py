"""Tests of semantic maps of every layout: ids, and reported faults."""

import io

import numpy as np
import pytest
from PIL import Image

from tfrmod.errors import DatasetError
from tfrmod.example import decode_example, encode_example
from tfrmod.masks import png_array
from tfrmod.sources import find_source, masks, semantic
from tfrmod.sources.semantic_names import ADE20K, CITYSCAPES, VOC, voc_colors
from tfrmod.sources.source import Reading


def grey(**values: int) -> np.ndarray:
    """Returns a map of 48x64 with a square of 10x10 for each value."""
    found = np.zeros((48, 64), np.uint8)
    for index, value in enumerate(values.values()):
        found[5:15, 12 * index : 12 * index + 10] = value
    return found


def palette_png(values: np.ndarray) -> bytes:
    image = Image.fromarray(values).convert("P")
    image.putdata(values.ravel().tolist())
    image.putpalette([side for color in voc_colors() for side in color])
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def segmentation(reading: Reading) -> np.ndarray:
    assert reading.image is not None, reading.problems
    return png_array(reading.image.segmentation)


def test_semantic_names_are_those_published() -> None:
    assert (len(ADE20K), len(set(ADE20K)), ADE20K[0], ADE20K[149]) == (150, 150, "wall", "flag")
    assert (len(VOC), VOC[14], len(CITYSCAPES)) == (20, "person", 19)
    colors = {value: color for color, value in voc_colors().items()}
    assert (colors[0], colors[1], colors[15], colors[20]) == ((0, 0, 0), (128, 0, 0), (192, 128, 128), (0, 64, 128))
    assert colors[255] == (224, 224, 192)


def test_voc_palette_and_colors(put) -> None:
    values = grey(plane=1, person=15, rim=255)
    colors = {value: color for color, value in voc_colors().items()}
    picture = np.array([colors[value] for value in values.ravel()], np.uint8).reshape(48, 64, 3)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    folder = put({
        "JPEGImages/a.jpg": None, "JPEGImages/b.jpg": None, "JPEGImages/c.jpg": None,
        "SegmentationClass/a.png": palette_png(values), "SegmentationClass/b.png": out.getvalue(),
        "SegmentationClass/d.png": palette_png(values),
        "ImageSets/Segmentation/train.txt": "a\n", "ImageSets/Segmentation/val.txt": "b\n",
        "ImageSets/Segmentation/trainval.txt": "a\nb\n",
    })  # fmt: skip
    listing = semantic.list_voc(folder)
    assert listing.sets == {"train": (0,), "val": (1,)}
    assert listing.label_map == dict(enumerate(VOC, start=1))
    assert {(problem.code, problem.file) for problem in listing.problems} == {
        ("image_without_annotation", "JPEGImages/c.jpg"), ("annotation_without_image", "SegmentationClass/d.png")
    }  # fmt: skip
    for entry in listing.entries:
        np.testing.assert_array_equal(segmentation(semantic.read(folder, entry)), values)


def test_semantic_maps_of_another_size_and_ids_beyond_the_classes_are_left_out(put) -> None:
    folder = put({
        "JPEGImages/a.jpg": None, "JPEGImages/b.jpg": None, "JPEGImages/c.jpg": None, "JPEGImages/d.jpg": b"x",
        "SegmentationClass/a.png": grey(a=1)[:24, :32], "SegmentationClass/b.png": grey(a=21),
        "SegmentationClass/c.png": b"no picture", "SegmentationClass/d.png": grey(a=1),
    })  # fmt: skip
    readings = [semantic.read(folder, entry) for entry in semantic.list_voc(folder).entries]
    assert all(reading.image is None for reading in readings)
    messages = [reading.problems[0].message for reading in readings]
    assert "a map of 32x24 pixels for the image JPEGImages/a.jpg of 64x48" in messages[0]
    assert "100 pixels with ids beyond the classes, for example 21; 20 is the largest" in messages[1]
    assert "that can be read" in messages[2]
    assert readings[3].problems[0].code == "image_undecodable"


def test_semantic_ade20k_leaves_other_out_of_the_count(put) -> None:
    values = grey(wall=1, flag=150)
    folder = put({
        "ADE/images/training/a.jpg": None, "ADE/images/validation/a.jpg": None,
        "ADE/annotations/training/a.png": values, "ADE/annotations/validation/a.png": grey(no=151),
    })  # fmt: skip
    listing = semantic.list_ade20k(folder)
    assert listing.sets == {"train": (0,), "val": (1,)}
    found = segmentation(semantic.read(folder, listing.entries[0]))
    np.testing.assert_array_equal(found, np.where(values == 0, 255, values))
    columns = semantic.training_map(found, has_background="ade20k" not in semantic.WITHOUT_BACKGROUND)
    assert sorted(np.unique(columns)) == [0, 149, 255]
    assert "for example 151" in semantic.read(folder, listing.entries[1]).problems[0].message


def test_cityscapes_label_ids_and_train_ids_agree(put) -> None:
    ids = grey(road=7, bicycle=33, void=4, plate=255)
    train_ids = np.full(ids.shape, 255, np.uint8)
    train_ids[ids == 7], train_ids[ids == 33] = 0, 18
    name = "aachen/aachen_000000_000019"
    for suffix, values in (("labelIds", ids), ("labelTrainIds", train_ids)):
        folder = put({
            f"{suffix}/leftImg8bit/train/{name}_leftImg8bit.png": None,
            f"{suffix}/gtFine/train/{name}_gtFine_{suffix}.png": values,
        }) / suffix  # fmt: skip
        listing = semantic.list_cityscapes(folder)
        assert listing.sets == {"train": (0,)}
        found = segmentation(semantic.read(folder, listing.entries[0]))
        assert sorted(np.unique(found)) == [1, 19, 255]
        np.testing.assert_array_equal(semantic.training_map(found, has_background=False), train_ids)


def test_semantic_coco_polygons_are_drawn_small_on_large(put) -> None:
    square = [0, 0, 40, 0, 40, 40, 0, 40]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 5, "bbox": [10, 10, 10, 10],
         "segmentation": [[10, 10, 20, 10, 20, 20, 10, 20]], "area": 100, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [0, 0, 40, 40], "segmentation": [square], "area": 1600,
         "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 3, "bbox": [35, 35, 20, 10], "area": 200, "iscrowd": 0},
    ]  # fmt: skip
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 48, "width": 64}],
        "categories": [{"id": 3, "name": "table"}, {"id": 5, "name": "cup"}],
        "annotations": annotations,
    }
    folder = put({"a.jpg": None, "instances.json": document})
    listing = semantic.list_coco(folder)
    [entry] = listing.entries
    found = segmentation(semantic.read_coco(folder, entry))
    assert (found[15, 15], found[5, 5], found[46, 60]) == (5, 3, 0)
    assert (found[42, 50], found[38, 38]) == (255, 3)
    assert (found == 5).sum() == 100


def test_read_masks_leaves_out_a_map_of_another_size(put) -> None:
    # The aspect ratio agrees, so that a mask of an object would be enlarged.
    folder = put({"images/a.jpg": None, "masks/a.png": grey(a=1)[::2, ::2], "classes.txt": "cat\n"})
    (reading,) = (semantic.read_masks(folder, entry) for entry in masks.listing(folder).entries)
    assert reading.image is None
    assert reading.problems[-1].message == "a map of 32x24 pixels for the image images/a.jpg of 64x48"


def test_read_masks_checks_ids_against_the_list_of_classes(put) -> None:
    folder = put({
        "images/a.jpg": None, "images/b.jpg": None, "masks/a.png": grey(a=2, rim=255), "masks/b.png": grey(a=3),
        "classes.txt": "cat\ndog\n",
    })  # fmt: skip
    one, other = (semantic.read_masks(folder, entry) for entry in masks.listing(folder).entries)
    np.testing.assert_array_equal(segmentation(one), grey(a=2, rim=255))
    assert other.image is None
    assert "for example 3; 2 is the largest" in other.problems[0].message
    record = decode_example(encode_example(one.image))
    np.testing.assert_array_equal(png_array(record.segmentation), grey(a=2, rim=255))


def smooth(**sides: int) -> np.ndarray:
    """Returns a map with an object of value 255 that has smooth edges."""
    found = np.zeros((48, 64), np.uint8)
    for step, value in enumerate((40, 110, 190, 255)):
        found[5 + step : 30 - step, sides["left"] + step : sides["left"] + 30 - step] = value
    return found


def test_list_masks_refuses_smooth_edges_for_ids(put) -> None:
    masks_of = {"masks/a.png": smooth(left=3), "masks/b.png": smooth(left=20)}
    folder = put({"images/a.jpg": None, "images/b.jpg": None, **masks_of})
    with pytest.raises(DatasetError, match=r"lie between a lower and a higher one, .* for example 40, 110, 190\. "):
        semantic.list_masks(folder)
    (folder / "classes.txt").write_text("cell\n")
    found = semantic.list_masks(folder)
    assert [(each.code, each.message) for each in found.problems] == [
        ("map_interpolated", "values 40, 110, 190 in this mask and others")
    ]
    readings = [semantic.read_masks(folder, entry) for entry in found.entries]
    assert all("with ids beyond the classes, for example 190" in each.problems[0].message for each in readings)


def test_list_masks_refuses_two_classes_of_one_name(put) -> None:
    folder = put({"images/a.jpg": None, "masks/a.png": grey(a=2), "classes.txt": "cat\ncat\n"})
    with pytest.raises(DatasetError, match="gives 'cat' to two ids"):
        semantic.list_masks(folder)


def test_find_source_leaves_a_faulty_list_of_classes_to_the_listing(put) -> None:
    folder = put({"images/a.jpg": None, "masks/a.png": grey(a=2), "classes.txt": "cat\n\ndog\n"})
    assert find_source(folder, semantic=True) == "semantic_masks"
    with pytest.raises(DatasetError, match="line 2 is blank"):
        semantic.list_masks(folder)


def test_list_masks_refuses_masks_of_background_alone(put) -> None:
    folder = put({"images/a.jpg": None, "masks/a.png": grey()})
    with pytest.raises(DatasetError, match=r"All 1 in .* have 0 alone"):
        semantic.list_masks(folder)


def test_list_masks_reads_the_classes_of_more_masks_than_detection(put) -> None:
    count = masks.PROBED + 1
    values = {f"masks/{number:03d}.png": grey(a=1) for number in range(count)}
    values[f"masks/{count - 1:03d}.png"] = grey(a=1, b=3)
    folder = put({**{f"images/{number:03d}.jpg": None for number in range(count)}, **values})
    assert masks.listing(folder).label_map == {1: masks.OBJECT}
    assert semantic.list_masks(folder).label_map == {1: "1", 3: "3"}


def test_read_masks_leaves_out_ids_without_a_name_and_255_among_ids(put) -> None:
    values = {"masks/a.png": grey(a=1, b=3), "masks/b.png": grey(a=255), "masks/c.png": grey(a=2)}
    names = {"_classes.csv": "Pixel Value,Class\n0,background\n1,cat\n3,dog\n"}
    folder = put({**{f"images/{name}.jpg": None for name in "abc"}, **values, **names})
    found = [semantic.read_masks(folder, entry) for entry in semantic.list_masks(folder).entries]
    np.testing.assert_array_equal(segmentation(found[0]), grey(a=1, b=3))
    assert found[1].problems[0].message.startswith("0 and 255 alone")
    assert found[2].problems[0].message == "pixels with the id 2, which is not in the list of classes"


@pytest.mark.parametrize("listing", [semantic.list_voc, semantic.list_ade20k, semantic.list_cityscapes])
def test_semantic_listings_say_what_they_expect(put, listing) -> None:
    folder = put({"a.jpg": None, "b.txt": ""})
    with pytest.raises(DatasetError, match=r"Expected .*png, with the same names. Found 0 images and 0 maps"):
        listing(folder)


def test_training_map_keeps_a_background_column() -> None:
    values = np.array([[0, 1, 255, 254]], np.uint8)
    assert semantic.training_map(values, has_background=True).tolist() == [[0, 1, 255, 254]]
    assert semantic.training_map(values, has_background=False).tolist() == [[255, 0, 255, 253]]
