"""Tests of the selection of files, which equals that of google/automl's converters."""

import json
from pathlib import Path

import pytest

from tfrmod.automl_converters import gather_coco, gather_voc
from tfrmod.class_names import VOC_CLASSES
from tfrmod.errors import DatasetError


@pytest.fixture
def years(tmp_path: Path, voc_in) -> Path:
    """Returns two years of VOC, each with six images, a list of train and one of val."""
    for year in ("VOC2007", "VOC2012"):
        folder = voc_in(tmp_path / "kit" / year).add_many(6)
        folder.write("ImageSets/Main/train.txt", "0003\n0001\n0000\n9999\n")
        folder.write("ImageSets/Main/val.txt", "0004\n")
        folder.write("ImageSets/Main/cat_odd.txt", "0001 -1\n0003  1\n")
        folder.write("Others/0001.xml", "<annotation/>")
    return tmp_path / "kit"


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def gathered(kit: Path, **options) -> tuple[list[str], list[str]]:
    destination = kit.parent / "links"
    missing = gather_voc(kit, destination, **options)
    return names_in(destination), missing


def pairs(year: str, *stems: str) -> list[str]:
    return sorted([*(f"{year}/Annotations/{s}.xml" for s in stems), *(f"{year}/JPEGImages/{s}.jpg" for s in stems)])


def test_automl_converters_gathering_one_list_of_one_year_and_nothing_else(years: Path) -> None:
    found, missing = gathered(years, years=["VOC2012"], set_name="train")
    assert found == pairs("VOC2012", "0000", "0001", "0003")
    assert missing == ["9999"]


def test_automl_converters_gathering_two_years_and_the_first_of_each(years: Path) -> None:
    found, _ = gathered(years, years=["VOC2007", "VOC2012"], set_name="train", max_images=2)
    assert found == [*pairs("VOC2007", "0001", "0003"), *pairs("VOC2012", "0001", "0003")]


def test_automl_converters_gathering_lists_of_classes_serve_too(years: Path) -> None:
    found, missing = gathered(years, years=["VOC2007"], set_name="odd")
    assert (found, missing) == (pairs("VOC2007", "0001", "0003"), [])


def test_automl_converters_gathering_annotations_elsewhere(years: Path) -> None:
    found, _ = gathered(years, years=["VOC2007"], set_name="odd", annotations_dir="Others")
    assert found == ["VOC2007/JPEGImages/0001.jpg", "VOC2007/JPEGImages/0003.jpg", "VOC2007/Others/0001.xml"]


def test_automl_converters_gathering_folder_without_years(years: Path) -> None:
    found, _ = gathered(years / "VOC2007", years=[], set_name="val")
    assert found == pairs("VOC2007", "0004")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"years": ["VOC2010"], "set_name": "train"}, r"VOC2010/ImageSets/Main below .* there: VOC2007, VOC2012"),
        (
            {"years": ["VOC2012"], "set_name": "test"},
            r"list .*test\.txt \(--set=test\) does not exist\. Existing lists: cat_odd, train",
        ),
    ],
)
def test_automl_converters_gathering_what_is_not_there_is_named(years: Path, options: dict, words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        gathered(years, **options)
    assert caught.value.missing


def test_automl_converters_gathering_coco_takes_the_images_that_are_listed_and_there(tmp_path: Path) -> None:
    image_files = tmp_path / "val2017"
    (image_files / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (image_files / name).write_bytes(b"photo")
    (tmp_path / "secret.jpg").touch()
    names = ["a.jpg", "sub/c.jpg", "gone.jpg", "../secret.jpg", str(tmp_path / "secret.jpg"), "", None]
    listing = {"images": [{"id": number, "file_name": name} for number, name in enumerate(names)], "annotations": []}
    (tmp_path / "some.json").write_text(json.dumps(listing))
    gather_coco(image_files, tmp_path / "some.json", tmp_path / "links")
    assert names_in(tmp_path / "links") == ["annotations.json", "images/a.jpg", "images/sub/c.jpg"]
    assert json.loads((tmp_path / "links" / "annotations.json").read_text()) == listing
    for arguments in ((tmp_path / "none", tmp_path / "some.json"), (image_files, tmp_path / "none.json")):
        with pytest.raises(DatasetError, match=r"none.* does not exist"):
            gather_coco(*arguments, tmp_path / "links")


def test_automl_converters_gathering_where_links_are_forbidden_files_are_copied(
    years: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr("os.symlink", forbidden)
    found, _ = gathered(years, years=["VOC2012"], set_name="val")
    assert found == pairs("VOC2012", "0004")
    assert not [path for path in (years.parent / "links").rglob("*") if path.is_symlink()]


def test_automl_converters_gathering_classes_are_those_of_the_challenge() -> None:
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)
    assert VOC_CLASSES[14] == "person"
