from pathlib import Path

import pytest

from tfrmod.sources.source import Entry
from tfrmod.sources.split_lists import Lists, image_sets, other_lists


def sets_of(folder: Path, files: dict[str, str], entries: list[str], read=image_sets):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    lists = read(folder, list(files), tuple(Entry(name, name[:-3] + "xml") for name in entries))
    return lists.sets, lists.problems


def test_image_sets_of_years_are_merged_and_kept_apart(tmp_path: Path) -> None:
    files = {"07/ImageSets/Main/train.txt": "1\n2\n", "12/ImageSets/Main/train.txt": "1\n"}
    sets, unknown = sets_of(tmp_path, files, ["07/I/1.jpg", "07/I/2.jpg", "12/I/1.jpg", "12/I/2.jpg"])
    assert sets == {"train": (0, 1, 2)}
    assert unknown == {}


def test_image_sets_do_not_take_another_years_image(tmp_path: Path) -> None:
    files = {"07/ImageSets/Main/train.txt": "1\n2\n"}
    sets, unknown = sets_of(tmp_path, files, ["07/I/1.jpg", "12/I/1.jpg", "12/I/2.jpg"])
    assert sets == {"train": (0,)}
    assert [problem.message for problem in unknown["train"]] == ["2"]


def test_image_sets_name_images_in_many_forms(tmp_path: Path) -> None:
    content = "\ufeffa\nb.jpg\r\nsub/c.jpg\n d e  1\n\nf#=.x -1\n"
    entries = ["JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg", "JPEGImages/d e.jpg", "JPEGImages/f#=.x.jpg"]
    sets, unknown = sets_of(tmp_path, {"ImageSets/Main/val.txt": content}, entries)
    assert sets == {"val": (0, 1, 2, 3, 4)}
    assert unknown == {}


def test_image_sets_keep_what_is_named_in_vain(tmp_path: Path) -> None:
    files = {"ImageSets/Main/train.txt": "a\ngone\n", "ImageSets/Main/test.txt": "gone\n"}
    sets, unknown = sets_of(tmp_path, files, ["a.jpg"])
    assert sets == {"train": (0,)}
    assert [problem.message for problem in unknown["train"]] == ["gone"]


def test_split_lists_other_texts_are_no_image_sets(tmp_path: Path) -> None:
    sets, _ = sets_of(tmp_path, {"train.txt": "a", "ImageSets/Layout/train.txt": "a", "README.txt": "a"}, ["a.jpg"])
    assert sets == {}


def test_image_sets_name_files_that_end_as_a_second_column_would(tmp_path: Path) -> None:
    content = "photo 0\nphoto 1\nphoto 2  1\nother 0\n"
    entries = [f"JPEGImages/photo {number}.jpg" for number in range(3)] + ["JPEGImages/other.jpg"]
    sets, unknown = sets_of(tmp_path, {"ImageSets/Main/val.txt": content}, entries)
    assert (sets, unknown) == ({"val": (0, 1, 2, 3)}, {})


def test_image_sets_believe_stated_folders(tmp_path: Path) -> None:
    entries = ["I/cam1/0.jpg", "I/cam1/1.jpg", "I/cam2/0.jpg", "I/cam2/1.jpg"]
    files = {"ImageSets/Main/train.txt": "cam1/0\ncam2/1\n", "ImageSets/Main/val.txt": "0\n"}
    sets, unknown = sets_of(tmp_path, files, entries)
    assert sets == {"train": (0, 3)}
    assert [problem.message for problem in unknown["val"]] == ["0 fits I/cam1/0.jpg, I/cam2/0.jpg"]


def test_image_sets_of_one_class_count_where_there_is_none_of_all(tmp_path: Path) -> None:
    files = {
        "ImageSets/Main/cat_train.txt": "a 1\nb -1\n",
        "ImageSets/Main/dog_train.txt": "a -1\nb 1\n",
        "ImageSets/Main/cat_val.txt": "c 1\nd 1\n",
        "ImageSets/Main/val.txt": "c\n",
    }
    sets, _ = sets_of(tmp_path, files, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    assert sets == {"train": (0, 1), "val": (2,)}


LINES = {
    "stems": "a\nb\n",
    "names": "a.jpg\nb.jpg\n",
    "paths": "images/a.jpg\n./images/b.jpg\n",
    "windows": "D:\\set\\images\\a.jpg\r\nD:\\set\\images\\b.jpg\r\n",
    "image and annotation": "images/a.jpg images/a.xml\nimages/b.jpg images/b.xml\n",
    "columns": "a 1 1 1\nb 2 1 2\n",
    "boxes": "images/a.jpg 1,2,3,4,0 5,6,7,8,1\nimages/b.jpg 1,2,3,4,0\n",
    "commas": "images/a.jpg,images/a.xml\nimages/b.jpg,images/b.xml\n",
    "tabs": "images/a.jpg\timages/a.xml\nimages/b.jpg\timages/b.xml\n",
    "annotations": "images/a.xml\nimages/b.xml\n",
    "a header": "# file\na\nb\n",
}


@pytest.mark.parametrize("content", LINES.values(), ids=LINES)
@pytest.mark.parametrize("name", ["train", "lists/Train", "ImageSets/train", "train2017", "cat_train", "train_list"])
def test_other_lists_are_found_however_they_are_written(tmp_path: Path, name: str, content: str) -> None:
    sets, _ = sets_of(tmp_path, {f"{name}.txt": content}, ["images/a.jpg", "images/b.jpg", "images/c.jpg"], other_lists)
    assert sets == {"train": (0, 1)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", "a\n"),
        ("train.txt", "0 0.5 0.5 0.1 0.1\n"),
        ("train.txt", "Trained on all of a\nand b, c\n"),
        ("train.txt", ""),
        ("trained.txt", "a\n"),
        ("ImageSets/Layout/train.txt", "a 1\n"),
    ],
)
def test_other_lists_are_not_found_where_there_are_none(tmp_path: Path, name: str, content: str) -> None:
    assert sets_of(tmp_path, {name: content}, ["images/a.jpg", "images/b.jpg"], other_lists) == ({}, {})


def test_other_lists_in_another_encoding_are_named(tmp_path: Path) -> None:
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_bytes("汽车\n".encode("gbk"))
    lists = image_sets(tmp_path, ["ImageSets/Main/train.txt"], (Entry("汽车.jpg", "汽车.xml"),))
    assert lists == Lists({}, lists.problems, {"train": "ImageSets/Main/train.txt"})
    assert "not UTF-8" in lists.problems["train"][0].message
