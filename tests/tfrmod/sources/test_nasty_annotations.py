"""Tests with difficult annotations from real datasets, and the expected result of each."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO as Truth

from tfrmod.archive import extract
from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.sources import SOURCES, find_source, voc
from tfrmod.sources.own_splits import with_splits
from tfrmod.sources.source import Entry

# Objects, and the codes of what is reported: each XML is read whole.
XML = {
    "bccd_zero_area_00338.xml": (14, {"filename_differs"}),
    "bccd_zero_area_00343.xml": (12, {"filename_differs"}),
    "dayride_type1_001.mp4#t=1093.xml": (3, set()),
    "deepforest_279boxes.xml": (279, {"filename_differs"}),
    "deepforest_574boxes.xml": (574, {"filename_differs"}),
    "raccoon_depth1.xml": (1, {"filename_differs"}),
}
# COCO files that name no image that is there, and the ids that they give to several.
COCO = {"carla_coco_test_defective.json": 1, "carla_coco_val_defective.json": 9}
# Result of each dataset: source, images, objects, sets, and reported problems.
DATA_SETS = {
    "bccd": ("voc", 364, 4888, {"train": 205, "val": 87, "trainval": 292, "test": 72}, {}),
    "license_plates": ("voc", 46, 64, {"train": 34, "val": 12}, {}),
    "deepforest_trees": ("voc", 3, 377, {}, {"annotation_without_image": 1, "image_without_annotation": 1}),
    "coco_permissive": ("coco", 104, 1041, {"train": 47, "val": 57}, {}),
    "fruits_nuts_coco": ("coco", 18, 165, {"trainval": 18}, {}),
    "nuclei_seg": ("masks", 319, 0, {"train": 266, "val": 53}, {"mask_left_out": 319}),
}


def test_nasty_annotations_tables_leave_out_nothing(test_data: Path) -> None:
    names = {path.name for path in (test_data / "nasty_annotations").iterdir()}
    assert {name for name in names if not name.startswith(("LICENSE", "README"))} == XML.keys() | COCO.keys()
    assert {path.stem for path in test_data.glob("*.zip")} == DATA_SETS.keys()


@pytest.mark.parametrize("name", XML)
def test_nasty_annotations_what_becomes_of_a_nasty_xml(test_data: Path, name: str) -> None:
    num_objects, codes = XML[name]
    reading = voc.read(test_data / "nasty_annotations", Entry(f"{Path(name).stem}.jpg", name))
    assert reading.image is not None
    assert len(reading.image.objects) == num_objects
    assert {problem.code for problem in reading.problems} == codes


@pytest.mark.parametrize("name", COCO)
def test_nasty_annotations_nasty_json_is_refused_loudly(test_data: Path, put, name: str) -> None:
    content = (test_data / "nasty_annotations" / name).read_bytes()
    folder = put({"images/Town05_001920.png": None, name: content})
    assert find_source(folder) == "coco"
    with pytest.raises(DatasetError, match=rf"Of \d+ images? in {name}, none can be used"):
        SOURCES["coco"].listing(folder)


@pytest.mark.parametrize("name", COCO)
def test_nasty_annotations_images_that_share_an_id_are_named(test_data: Path, put, read_all, name: str) -> None:
    content = json.loads((test_data / "nasty_annotations" / name).read_bytes())
    times = Counter(image["id"] for image in content["images"])
    alone = next(image["file_name"] for image in content["images"] if times[image["id"]] == 1)
    _, images, problems = read_all("coco", put({f"images/{alone}": None, name: content}))
    assert list(images) == [f"images/{alone}"]
    codes = Counter(problem.code for problem in problems)
    assert codes == {"image_id_shared": COCO[name], "annotation_without_image": len(times) - COCO[name] - 1}


@pytest.mark.parametrize("name", DATA_SETS)
def test_nasty_annotations_what_a_real_dataset_comes_to(test_data: Path, tmp_path: Path, read_all, name: str) -> None:
    source, num_images, num_objects, sets, codes = DATA_SETS[name]
    folder = extract(test_data / f"{name}.zip", tmp_path / name)
    assert find_source(folder) == source
    listing, images, problems = read_all(source, folder)
    listing = with_splits(folder, listing)
    assert len(images) == num_images
    assert sum(len(image.objects) for image in images.values()) == num_objects
    assert {set_name: len(members) for set_name, members in listing.sets.items()} == sets
    assert Counter(problem.code for problem in problems) == codes
    assert {problem.code for problem in listing.problems} <= codes.keys()
    shutil.rmtree(folder)


def test_nasty_annotations_boxes_flags_and_masks_equal_pycocotools(
    test_data: Path, tmp_path: Path, read_all, capsys
) -> None:
    folder = extract(test_data / "coco_permissive.zip", tmp_path / "data")
    truth = Truth(str(folder / "annotations" / "instances_val.json"))
    listing, images, problems = read_all("coco", folder, masks=True)
    assert problems == []
    assert listing.label_map == {one["id"]: one["name"] for one in truth.dataset["categories"]}
    ids = {found: number for number, found in listing.label_map.items()}
    by_name = {Path(path).name: image for path, image in images.items()}
    num_crowds = 0
    for number, listed in truth.imgs.items():
        image = by_name[listed["file_name"]]
        annotations = truth.imgToAnns[number]
        assert len(image.objects) == len(annotations)
        for thing, annotation in zip(image.objects, annotations, strict=True):
            left, top, width, height = annotation["bbox"]
            assert thing.box == pytest.approx((top, left, top + height, left + width))
            assert (ids[thing.name], thing.is_crowd) == (annotation["category_id"], bool(annotation["iscrowd"]))
            assert thing.area == pytest.approx(annotation["area"])
            np.testing.assert_array_equal(png_array(thing.mask), truth.annToMask(annotation))
            num_crowds += thing.is_crowd
    assert num_crowds == sum(annotation["iscrowd"] for annotation in truth.dataset["annotations"])
    assert "index created" in capsys.readouterr().out
