"""Tests of the precedence of split definitions, and of notes on the others."""

from pathlib import Path

import pytest

from tfrmod.convert import listing_for
from tfrmod.convert_options import ConvertOptions
from tfrmod.problems import Problem
from tfrmod.sources.own_splits import with_splits
from tfrmod.sources.source import Entry, Listing


def listing(images: str, **known) -> Listing:
    return Listing(entries=tuple(Entry(name, f"{name}.xml") for name in images.split()), **known)


def put_texts(folder: Path, **texts: str) -> Path:
    for name, content in texts.items():
        path = folder / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in content.split()))
    return folder


def codes(made: Listing) -> list[str]:
    return [problem.code for problem in made.problems]


IN_FOLDERS = "train/a.jpg train/b.jpg valid/c.jpg test/d.jpg"


def test_own_splits_by_folder_where_nothing_else_says(tmp_path: Path) -> None:
    made = with_splits(tmp_path, listing(IN_FOLDERS))
    assert made.sets == {"train": (0, 1), "val": (2,), "test": (3,)}
    assert made.set_origins["val"] == "the names of folders"
    assert codes(made) == []


@pytest.mark.parametrize(
    "images",
    [
        "images/train/a.jpg images/train/b.jpg images/val/c.jpg images/test/d.jpg",
        "train_images/a.jpg train_images/b.jpg validation_images/c.jpg test_images/d.jpg",
        "Train/JPEGImages/a.jpg Train/JPEGImages/b.jpg Valid/JPEGImages/c.jpg TEST/JPEGImages/d.jpg",
        "train2017/a.jpg train2017/b.jpg val2017/c.jpg test2017/d.jpg",
    ],
)
def test_own_splits_by_folders_of_many_names(tmp_path: Path, images: str) -> None:
    assert with_splits(tmp_path, listing(images)).sets == {"train": (0, 1), "val": (2,), "test": (3,)}


def test_own_splits_by_the_folders_of_annotations(tmp_path: Path) -> None:
    entries = (Entry("images/a.jpg", "labels/train/a.xml"), Entry("images/b.jpg", "labels/val/b.xml"))
    assert with_splits(tmp_path, Listing(entries=entries)).sets == {"train": (0,), "val": (1,)}


def test_own_splits_by_lists_before_folders_and_say_what_differs(tmp_path: Path) -> None:
    folder = put_texts(tmp_path, train="a c", val="b")
    made = with_splits(folder, listing(IN_FOLDERS))
    assert made.sets == {"train": (0, 2), "val": (1,), "test": (3,)}
    assert made.set_origins == {"train": "train.txt", "val": "val.txt", "test": "the names of folders"}
    assert made.problems == (
        Problem(
            "split_not_followed",
            "train/b.jpg",
            "the names of folders differ from the lists of images for 2 images; the lists of images are used",
        ),
    )


def test_own_splits_by_image_sets_before_other_lists(tmp_path: Path) -> None:
    folder = put_texts(tmp_path, ImageSets__Main__train="a b", ImageSets__Main__val="c", train="c", val="a")
    made = with_splits(folder, listing("i/a.jpg i/b.jpg i/c.jpg"))
    assert made.sets == {"train": (0, 1), "val": (2,)}
    assert codes(made) == ["split_not_followed"]


def test_own_splits_of_the_format_come_first(tmp_path: Path) -> None:
    made = with_splits(tmp_path, listing(IN_FOLDERS, sets={"train": (0, 1, 2), "val": (3,)}))
    assert made.sets == {"train": (0, 1, 2), "val": (3,)}
    assert codes(made) == ["split_not_followed"]


def test_own_splits_take_a_set_that_is_named_in_vain_from_its_folder(tmp_path: Path) -> None:
    gone = (Problem("set_lists_unknown", "data.yaml", "../val/images"),)
    made = with_splits(tmp_path, listing(IN_FOLDERS, sets={"train": (0, 1), "test": (3,)}, set_problems={"val": gone}))
    assert made.sets == {"train": (0, 1), "test": (3,), "val": (2,)}
    assert made.set_problems == {"val": gone}


@pytest.mark.parametrize("images", ["train/a.jpg train/b.jpg", "a.jpg b.jpg", "test/a.jpg test/b.jpg"])
def test_own_splits_by_ratio_where_one_folder_holds_all(tmp_path: Path, images: str) -> None:
    made = with_splits(tmp_path, listing(images))
    assert len(made.sets) < 2
    assert codes(made) == []


@pytest.mark.parametrize(
    ("images", "sets"),
    [
        ("images/a.jpg images/b.jpg test/c.jpg", {"test": (2,), "train": (0, 1)}),
        ("images/a.jpg images/b.jpg val/c.jpg", {"val": (2,), "train": (0, 1)}),
        ("a/a.jpg test/b.jpg val/c.jpg", {"test": (1,), "val": (2,), "train": (0,)}),
    ],
)
def test_own_splits_train_on_the_rest_where_only_held_back_sets_are_named(tmp_path: Path, images: str, sets) -> None:
    made = with_splits(tmp_path, listing(images))
    assert made.sets == sets
    assert codes(made) == ["split_completed"]


def test_own_splits_by_ratio_where_only_a_set_to_train_on_is_named(tmp_path: Path) -> None:
    made = with_splits(tmp_path, listing("extra/a.jpg train/b.jpg train/c.jpg"))
    assert made.sets == {"train": (1, 2)}
    assert codes(made) == ["split_not_followed"]


def test_own_splits_do_not_follow_the_lists_of_several_folds(tmp_path: Path) -> None:
    folder = put_texts(tmp_path, fold0__train="a b", fold0__val="c", fold1__train="b c", fold1__val="a")
    made = with_splits(folder, listing("i/a.jpg i/b.jpg i/c.jpg"))
    assert made.sets == {}
    assert codes(made) == ["split_not_followed"]


SPLITS = {"train": 3, "valid": 1, "test": 1}
IMAGES = [f"{folder}/{folder}{number}.jpg" for folder, count in SPLITS.items() for number in range(count)]
ANNOTATIONS = {
    "voc": {
        f"{image[:-4]}.xml": "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>"
        "<ymax>40</ymax></bndbox></object></annotation>"
        for image in IMAGES
    },
    "yolo": {f"{image[:-4]}.txt": "0 0.5 0.5 0.25 0.25" for image in IMAGES},
    "csv": {
        "all.csv": "filename,class,xmin,ymin,xmax,ymax\n" + "".join(f"{image},cat,1,2,30,40\n" for image in IMAGES)
    },
    "coco": {
        "all.json": {
            "images": [{"id": number, "file_name": image} for number, image in enumerate(IMAGES)],
            "annotations": [
                {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 2, 29, 38]}
                for number in range(len(IMAGES))
            ],
            "categories": [{"id": 1, "name": "cat"}],
        }
    },
}


@pytest.mark.parametrize("source", ANNOTATIONS)
@pytest.mark.parametrize("has_lists", [False, True])
def test_own_splits_are_followed_in_every_format(put, source: str, has_lists: bool) -> None:
    lists = {"train.txt": "train0\ntrain1\ntest0\n", "val.txt": "train2\nvalid0\n"} if has_lists else {}
    folder = put(dict.fromkeys(IMAGES) | ANNOTATIONS[source] | lists)
    made = listing_for(folder, source, ConvertOptions())
    found = {name: [made.entries[index].image for index in members] for name, members in made.sets.items()}
    if has_lists:
        assert found == {
            "train": ["test/test0.jpg", "train/train0.jpg", "train/train1.jpg"],
            "val": ["train/train2.jpg", "valid/valid0.jpg"],
        }
    else:
        assert {name: len(members) for name, members in found.items()} == {"train": 3, "val": 1, "test": 1}
