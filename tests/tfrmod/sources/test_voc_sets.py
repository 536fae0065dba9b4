from pathlib import Path

from tfrmod.sources.source import Entry
from tfrmod.sources.voc_sets import read_sets


def sets_of(folder: Path, files: dict[str, str], entries: list[str]):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return read_sets(folder, list(files), tuple(Entry(name, name[:-3] + "xml") for name in entries))


def test_years_are_merged_and_kept_apart(tmp_path: Path) -> None:
    files = {"07/ImageSets/Main/train.txt": "1\n2\n", "12/ImageSets/Main/train.txt": "1\n"}
    sets, unknown = sets_of(tmp_path, files, ["07/I/1.jpg", "07/I/2.jpg", "12/I/1.jpg", "12/I/2.jpg"])
    assert sets == {"train": (0, 1, 2)}
    assert unknown == {}


def test_names_come_in_many_forms(tmp_path: Path) -> None:
    content = "\ufeffa\nb.jpg\r\nsub/c.jpg\n d e  1\n\nf#=.x -1\n"
    entries = ["JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg", "JPEGImages/d e.jpg", "JPEGImages/f#=.x.jpg"]
    sets, unknown = sets_of(tmp_path, {"ImageSets/Main/val.txt": content}, entries)
    assert sets == {"val": (0, 1, 2, 3, 4)}
    assert unknown == {}


def test_names_in_vain_are_kept_for_those_who_use_the_list(tmp_path: Path) -> None:
    files = {"ImageSets/Main/train.txt": "a\ngone\n", "ImageSets/Main/test.txt": "gone\n"}
    sets, unknown = sets_of(tmp_path, files, ["a.jpg"])
    assert sets == {"train": (0,)}
    assert [problem.message for problem in unknown["train"]] == ["gone"]


def test_other_texts_are_no_lists(tmp_path: Path) -> None:
    sets, _ = sets_of(tmp_path, {"train.txt": "a", "ImageSets/Layout/train.txt": "a", "README.txt": "a"}, ["a.jpg"])
    assert sets == {}


def test_a_name_may_end_as_a_second_column_would(tmp_path: Path) -> None:
    content = "photo 0\nphoto 1\nphoto 2  1\nother 0\n"
    entries = [f"JPEGImages/photo {number}.jpg" for number in range(3)] + ["JPEGImages/other.jpg"]
    sets, unknown = sets_of(tmp_path, {"ImageSets/Main/val.txt": content}, entries)
    assert (sets, unknown) == ({"val": (0, 1, 2, 3)}, {})
