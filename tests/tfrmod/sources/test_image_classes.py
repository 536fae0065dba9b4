"""Tests of classification datasets: class folders and CSV."""

from pathlib import Path
from typing import Any

import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import find_source, image_classes
from tfrmod.sources.files import list_files


def classes_of(folder: Path, listing: Any) -> dict[str, str]:
    found = {}
    for entry in listing.entries:
        image = image_classes.read(folder, entry).image
        assert image is not None
        [thing] = image.objects
        assert thing.box == (0, 0, image.height, image.width) == (0, 0, 48, 64)
        found[entry.image] = thing.name
    return found


@pytest.mark.parametrize("top", ["", "animals/"])
def test_list_class_folders_with_and_without_splits(put, top: str) -> None:
    names = ["train/cat/1.jpg", "train/dog/a/2.jpg", "valid/cat/3.jpg", "test/dog/4.jpg"]
    folder = put({top + name: None for name in names})
    assert image_classes.is_class_folders(folder, list_files(folder))
    listing = image_classes.list_class_folders(folder)
    assert listing.label_map == {1: "cat", 2: "dog"}
    assert classes_of(folder, listing) == {top + name: name.split("/")[1] for name in names}
    images = [entry.image for entry in listing.entries]
    assert {key: [images[number] for number in numbers] for key, numbers in listing.sets.items()} == {
        "train": [top + names[0], top + names[1]], "val": [top + names[2]], "test": [top + names[3]]
    }  # fmt: skip


def test_list_class_folders_without_splits_has_no_sets(put) -> None:
    folder = put({"cat/1.jpg": None, "training shoes/1.jpg": None})
    listing = image_classes.list_class_folders(folder)
    assert listing.sets == {}
    assert listing.label_map == {1: "cat", 2: "training shoes"}


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (("10", "2", "1"), ["1", "2", "10"]),
        (("-1", "07", "7", "10"), ["-1", "07", "7", "10"]),
        (("10", "2", "two"), ["10", "2", "two"]),
        (("10", "2", "1.5"), ["1.5", "10", "2"]),
    ],
)
def test_list_class_folders_orders_integers_by_value(put, names: tuple[str, ...], ordered: list[str]) -> None:
    listing = image_classes.list_class_folders(put({f"{name}/a.jpg": None for name in names}))
    assert listing.label_map == dict(enumerate(ordered, start=1))


def test_list_class_folders_refuses_loose_images_and_single_classes(put) -> None:
    folder = put({"cat/1.jpg": None, "2.jpg": None})
    assert not image_classes.is_class_folders(folder, list_files(folder))
    with pytest.raises(DatasetError, match=r"1 are not, for example 2\.jpg"):
        image_classes.list_class_folders(folder)
    with pytest.raises(DatasetError, match=r"two classes or more.*Found 1, cat, with 1 image"):
        image_classes.list_class_folders(put({"../one/train/cat/1.jpg": None}).parent / "one")


def test_image_classes_read_names_an_undecodable_image(put) -> None:
    folder = put({"cat/1.jpg": None, "dog/2.jpg": b"no image"})
    listing = image_classes.list_class_folders(folder)
    reading = image_classes.read(folder, listing.entries[1])
    assert reading.image is None
    assert reading.problems[0].code == "image_undecodable"


def test_list_class_csv_pairs_by_name_and_names_what_is_wrong(put) -> None:
    table = "image,label\n1.jpg,cat\n2,dog\n3.jpg,cat\n3.jpg,dog\n,dog\n9.jpg,dog\n"
    folder = put(
        {"images/1.jpg": None, "images/2.jpg": None, "images/3.jpg": None, "images/4.jpg": None, "t.csv": table}
    )
    assert image_classes.is_class_csv(folder, list_files(folder))
    listing = image_classes.list_class_csv(folder)
    assert classes_of(folder, listing) == {"images/1.jpg": "cat", "images/2.jpg": "dog"}
    assert {(problem.code, problem.file) for problem in listing.problems} == {
        ("annotations_disagree", "images/3.jpg"),
        ("line_unreadable", "t.csv"),
        ("annotation_without_image", "9.jpg"),
        ("image_without_annotation", "images/4.jpg"),
    }


@pytest.mark.parametrize(
    "table",
    [
        "\ufefffilename;label\n1.jpg;a cat\n2.jpg;dog\n",
        "filename\tlabel\r\n1.jpg\ta cat\r\n2.jpg\tdog\r\n",
        "sep=|\nn|filename|label\n7|1.jpg|a cat\n8|2.jpg|dog\n",
        'filename, label\n"1.jpg", "a cat"\n\n"2.jpg", "dog"\n',
    ],
)
def test_list_class_csv_reads_the_delimiters_of_spreadsheets(put, table: str) -> None:
    folder = put({"1.jpg": None, "2.jpg": None, "t.csv": table})
    listing = image_classes.list_class_csv(folder)
    assert classes_of(folder, listing) == {"1.jpg": "a cat", "2.jpg": "dog"}
    assert not listing.problems


def test_list_class_folders_names_a_folder_without_images(put) -> None:
    folder = put({"train/cat/1.jpg": None, "train/dog/2.jpg": None, "val/cat/3.jpg": None, "train/cow/notes.txt": ""})
    found = image_classes.list_class_folders(folder)
    assert [(each.code, each.file) for each in found.problems] == [("class_without_images", "train/cow")]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"cat/1.jpg": None}, "two classes or more .*Found 1, cat"),
        ({"cat/1.jpg": None, "2.jpg": None}, "1 are not, for example 2.jpg"),
        ({"1.jpg": None, "t.csv": "1.jpg,cat\n"}, "with a header that names the image"),
    ],
)
def test_find_source_says_why_classes_of_images_are_not_found(put, files: dict[str, Any], reason: str) -> None:
    with pytest.raises(DatasetError, match=f"No classes of images were found.*{reason}"):
        find_source(put(files), image_classes=True)


def test_list_class_csv_takes_sets_from_the_names_of_tables(put) -> None:
    folder = put(
        {"1.jpg": None, "2.jpg": None, "train.csv": "file,class\n1.jpg,a\n", "val.csv": "file,class\n2.jpg,b\n"}
    )
    assert image_classes.list_class_csv(folder).sets == {"train": (0,), "val": (1,)}


def test_list_class_csv_leaves_tables_of_boxes_alone(put) -> None:
    folder = put({"1.jpg": None, "boxes.csv": "filename,class,xmin,ymin,xmax,ymax\n1.jpg,a,1,2,3,4\n"})
    assert not image_classes.is_class_csv(folder, list_files(folder))
    with pytest.raises(DatasetError, match="Found 1 CSV files, none of which has both"):
        image_classes.list_class_csv(folder)
