"""Tests of matching file names in annotations with files."""

import tracemalloc
import unicodedata

import pytest

from tfrmod.pairing import Names, spellings

ACCENTED = "café_0.jpg"
DECOMPOSED = unicodedata.normalize("NFD", ACCENTED)


def found(paths: str | list[str], name: str, *, near: str = "annotations/all.json", hint: str = "") -> list[str]:
    return Names(paths.split() if isinstance(paths, str) else paths).find(name, near=near, hint=hint)


@pytest.mark.parametrize(
    "name",
    [
        "images/a b.jpg",
        "../images/a b.jpg",
        "a b.jpg",
        r"images\a b.jpg",
        r"C:\Users\me\project\images\a b.jpg",
        "/home/me/images/a b.jpg",
        "images/a%20b.jpg",
        "file:///home/me/images/a%20b.jpg",
        "file:///C:/images/a%20b.jpg",
        "https://host.invalid/bucket/images/a%20b.jpg?width=100#top",
        "s3://bucket/images/a b.jpg",
        "/data/local-files/?d=images%2Fa%20b.jpg",
        "/data/local-files/?d=images%5Ca%20b.jpg",
        "http://localhost:8080/data/local-files/?d=images/a%20b.jpg",
        "a b",
        "a b.png",
        "A B.JPG",
        "IMAGES/A b",
    ],
)
def test_names_find_a_file_however_it_is_written(name: str) -> None:
    assert found(["images/a b.jpg", "images/c.jpg"], name) == ["images/a b.jpg"]


@pytest.mark.parametrize(("name", "file"), [(ACCENTED, DECOMPOSED), (DECOMPOSED, ACCENTED), ("a b.jpg", "a%20b.jpg")])
def test_names_find_a_file_that_is_written_otherwise(name: str, file: str) -> None:
    assert found([f"images/{file}", "images/other.jpg"], name) == [f"images/{file}"]


@pytest.mark.parametrize(
    ("name", "paths", "expected"),
    [
        ("IMG_0.jpg", "i/img_0.jpg i/IMG_0.jpg", "i/IMG_0.jpg"),
        ("a%20b.jpg", "i/a%20b.jpg i/x.jpg", "i/a%20b.jpg"),
        ("a.jpg", "i/a.png i/A.JPG", "i/a.png"),
        ("a.jpg", "i/a.jpg i/a.png", "i/a.jpg"),
        ("A.mp4#t=1", "i/A.mp4#t=1.jpg i/A.mp4#t=2.jpg", "i/A.mp4#t=1.jpg"),
        ("a.jpg?w=1", "i/a.jpg j/b.jpg", "i/a.jpg"),
        ("0", "0.jpg i/0.jpg", "0.jpg"),
        ("i/0", "0.jpg i/0.jpg", "i/0.jpg"),
    ],
)
def test_names_try_the_exact_name_first(name: str, paths: str, expected: str) -> None:
    assert found(paths, name) == [expected]


def test_names_keep_both_forms_of_accents_apart_where_both_are_there() -> None:
    assert found([ACCENTED, DECOMPOSED], DECOMPOSED) == [DECOMPOSED]


def test_names_believe_stated_folders_before_nearness() -> None:
    paths = "set/cam1/0.jpg set/cam2/0.jpg"
    assert found(paths, r"D:\x\cam2\0.jpg", near="set/cam1/all.json") == ["set/cam2/0.jpg"]
    assert found(paths, "0.jpg", near="set/cam1/all.json") == ["set/cam1/0.jpg"]
    assert found(paths, "0.jpg", hint="cam2") == ["set/cam2/0.jpg"]


@pytest.mark.parametrize("name", ["0.jpg", "0", "0.JPG", "elsewhere/0.jpg"])
def test_names_return_all_where_there_is_doubt(name: str) -> None:
    assert found("raw/0.jpg done/0.jpg", name) == ["done/0.jpg", "raw/0.jpg"]


@pytest.mark.parametrize(
    "name", ["", "  ", "/", "..", "../../x.jpg", "b.jpg", "https://host.invalid/", "?d=", "%FF.jpg"]
)
def test_names_find_nothing_where_nothing_fits(name: str) -> None:
    assert found("images/a.jpg", name) == []


def test_names_do_not_find_the_file_of_another_folder_where_names_recur() -> None:
    assert found("cam1/0.jpg cam2/0.jpg cam2/1.jpg", "cam1/1.jpg") == []
    assert found("cam1/0.jpg cam2/1.jpg", "cam1/1.jpg") == ["cam2/1.jpg"]
    assert found("cam1/0.jpg cam2/0.jpg cam2/1.jpg", "cam3/1.jpg") == ["cam2/1.jpg"]


def test_names_of_one_file_do_not_take_what_another_names_by_path() -> None:
    names = Names(["images/cam2/0.jpg", "images/cam2/1.jpg"])
    stated = ["images/cam1/0.jpg", "images/cam2/0.jpg", "images/cam1/1.jpg"]
    assert names.find_all(stated, near="all.json") == {
        "images/cam1/0.jpg": [],
        "images/cam2/0.jpg": ["images/cam2/0.jpg"],
        "images/cam1/1.jpg": ["images/cam2/1.jpg"],
    }


def test_names_that_fit_one_file_equally_well_all_stay_without() -> None:
    names = Names(["images/0.jpg", "images/1.jpg"])
    assert names.find_all(["a/0.jpg", "b/0.jpg", "b/1.jpg"], near="all.json") == {
        "a/0.jpg": [],
        "b/0.jpg": [],
        "b/1.jpg": ["images/1.jpg"],
    }


def test_spellings_are_paths_with_forward_slashes() -> None:
    assert spellings(r"a\b%20c.jpg") == ["a/b%20c.jpg", "a/b c.jpg"]
    assert spellings("a.jpg") == ["a.jpg"]


def test_names_find_all_files_of_a_recurring_name() -> None:
    paths = [f"camera{number}/0.jpg" for number in range(1000)]
    for stated in ("0.jpg", "0", "0.JPG"):
        assert Names(paths).matches(stated)[0] == sorted(paths)


def test_names_take_little_memory() -> None:
    paths = [f"JPEGImages/{number:06d}_image.jpg" for number in range(5000)]
    tracemalloc.start()
    try:
        names = Names(paths)
        for path in paths[:10]:
            assert names.matches(path.rpartition("/")[2].removesuffix(".jpg")) == ([path], 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / len(paths) < 600, "bytes for each name"
