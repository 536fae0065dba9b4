"""The embedded dataset: a valid VOC zip, reproducible by seed."""

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from efficientdet_pipeline.demo_dataset import MAX_COVERED, SHAPES, draw_image, write_demo_dataset

SIZE = (96, 120)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    path = tmp_path_factory.mktemp("demo") / "new_folder" / "shapes.zip"
    assert write_demo_dataset(path, num_images=48, image_size=SIZE, seed=3) == path
    assert [entry.name for entry in path.parent.iterdir()] == ["shapes.zip"]
    return zipfile.ZipFile(path)


def names_of(archive: zipfile.ZipFile, split: str) -> list[str]:
    return archive.read(f"ImageSets/Main/{split}.txt").decode().split()


def objects_of(archive: zipfile.ZipFile, name: str) -> list[tuple[str, list[int]]]:
    root = ElementTree.fromstring(archive.read(f"Annotations/{name}.xml"))
    assert root.findtext("filename") == f"{name}.jpg"
    return [
        (found.findtext("name"), [int(found.findtext(f"bndbox/{side}")) for side in ("ymin", "xmin", "ymax", "xmax")])
        for found in root.iter("object")
    ]


def test_the_splits_are_disjoint_and_name_every_picture(archive: zipfile.ZipFile) -> None:
    trainval, test = names_of(archive, "trainval"), names_of(archive, "test")
    assert (len(trainval), len(test)) == (40, 8)
    assert not set(trainval) & set(test)
    pictures = {Path(name).stem for name in archive.namelist() if name.startswith("JPEGImages/")}
    assert pictures == set(trainval) | set(test)


def test_every_object_is_inside_and_of_a_known_class(archive: zipfile.ZipFile) -> None:
    for name in names_of(archive, "trainval") + names_of(archive, "test"):
        picture = cv2.imdecode(np.frombuffer(archive.read(f"JPEGImages/{name}.jpg"), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (*SIZE, 3)
        for class_name, (ymin, xmin, ymax, xmax) in objects_of(archive, name):
            assert class_name in SHAPES
            assert 1 <= ymin < ymax <= SIZE[0]
            assert 1 <= xmin < xmax <= SIZE[1]
            assert 0.2 * min(SIZE) <= max(ymax - ymin, xmax - xmin) <= 0.6 * min(SIZE) + 1


def test_all_classes_and_empty_pictures_occur(archive: zipfile.ZipFile) -> None:
    found = [objects_of(archive, name) for name in names_of(archive, "trainval")]
    assert {class_name for objects in found for class_name, _ in objects} == set(SHAPES)
    assert any(not objects for objects in found)


def test_the_default_set_has_every_class_and_an_empty_picture_in_both_lists() -> None:
    names = [[found.name for found in draw_image(index, image_size=(32, 32), seed=0)[1]] for index in range(240)]
    for split in (names[5::6], [found for index, found in enumerate(names) if index % 6 != 5]):
        assert {name for found in split for name in found} == set(SHAPES)
        assert [] in split


def test_boxes_are_tight_and_overlap_little() -> None:
    for index in range(24):
        picture, objects = draw_image(index, image_size=SIZE, seed=0)
        assert picture.dtype == np.uint8
        boxes = np.array([found.box for found in objects]).reshape(-1, 4)
        for number, (y0, x0, y1, x1) in enumerate(boxes):
            other = np.delete(boxes, number, axis=0)
            shared = np.clip(np.minimum((y1, x1), other[:, 2:]) - np.maximum((y0, x0), other[:, :2]), 0, None)
            smaller = np.minimum((y1 - y0) * (x1 - x0), np.prod(other[:, 2:] - other[:, :2], axis=1))
            assert (np.prod(shared, axis=1) <= MAX_COVERED * smaller).all()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    zips = [
        write_demo_dataset(tmp_path / f"{number}.zip", num_images=12, image_size=(48, 48), seed=seed).read_bytes()
        for number, seed in enumerate((1, 1, 2))
    ]
    assert zips[0] == zips[1] != zips[2]


def test_a_picture_does_not_depend_on_the_others(archive: zipfile.ZipFile) -> None:
    _, objects = draw_image(7, image_size=SIZE, seed=3)
    expected = [(name, [y0 + 1, x0 + 1, y1, x1]) for name, (y0, x0, y1, x1) in objects]
    assert objects_of(archive, "shapes_00007") == expected


@pytest.mark.parametrize(
    ("num_images", "image_size", "complaint"),
    [(3, (64, 64), "Received num_images=3"), (24, (64, 16), r"Received image_size=\(64, 16\)")],
)
def test_impossible_wishes_are_refused(
    tmp_path: Path, num_images: int, image_size: tuple[int, int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        write_demo_dataset(tmp_path / "demo.zip", num_images=num_images, image_size=image_size)
