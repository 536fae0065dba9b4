"""Tests of the detection of a folder's format."""

import numpy as np
import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import SOURCES, find_source

MASK = np.ones((48, 64), np.uint8)
KINDS = {
    "voc": {"Annotations/a.xml": "<annotation/>"},
    "coco": {"annotations/x.json": {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}},
    "yolo": {"labels/a.txt": "0 0.5 0.5 0.1 0.1"},
    "cvat": {"annotations.xml": "<annotations><image name='a.jpg' width='64' height='48'/></annotations>"},
    "labelme": {"images/a.json": {"shapes": [], "imagePath": "a.jpg", "imageHeight": 48, "imageWidth": 64}},
    "via": {"via.json": {"a.jpg1": {"filename": "a.jpg", "size": 1, "regions": []}}},
    "createml": {"x.json": [{"image": "a.jpg", "annotations": []}]},
    "csv": {"x.csv": "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,2,3,4\n"},
    "masks": {"SegmentationClass/a.png": MASK},
}


@pytest.mark.parametrize("kind", KINDS)
def test_find_source_each_is_found_alone(put, kind: str) -> None:
    assert find_source(put({"images/a.jpg": None} | KINDS[kind])) == kind


@pytest.mark.parametrize(("kind", "other"), [("voc", "csv"), ("voc", "masks"), ("coco", "masks"), ("yolo", "csv")])
def test_find_source_tables_and_masks_stand_back(put, kind: str, other: str) -> None:
    folder = put({"images/a.jpg": None} | KINDS[kind] | KINDS[other])
    assert find_source(folder) == kind
    assert find_source(folder, other) == other


@pytest.mark.parametrize(("kind", "other"), [("voc", "coco"), ("voc", "yolo"), ("coco", "yolo"), ("csv", "masks")])
def test_find_source_two_kinds_of_one_rank_are_asked_about(put, kind: str, other: str) -> None:
    with pytest.raises(DatasetError, match=f"2 kinds, .*--source_format={kind} or --source_format={other}"):
        find_source(put({"images/a.jpg": None} | KINDS[kind] | KINDS[other]))


def test_find_source_images_alone_are_taken_only_when_asked_for(put, read_all) -> None:
    folder = put({"images/a.jpg": None, "b/c.jpg": None})
    with pytest.raises(DatasetError, match="--source_format=photos"):
        find_source(folder)
    assert find_source(folder, "photos") == "photos"
    listing, images, problems = read_all("photos", folder)
    assert (listing.is_unlabelled, problems) == (True, [])
    assert [image.objects for image in images.values()] == [(), ()]
    with pytest.raises(DatasetError, match="found none among 0 files"):
        SOURCES["photos"].listing(folder / "nothing")
