"""The flags of google/automl's converters, on the command line of --mode=dataset."""

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from efficientdet_pipeline.cli import main
from tfrmod.manifest import Manifest

NAMES = ("person", "cat", "dog")


def photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "green").save(out, "JPEG")
    return out.getvalue()


def xml(name: str, *, difficult: int) -> str:
    box = "<xmin>4</xmin><ymin>5</ymin><xmax>20</xmax><ymax>25</ymax>"
    thing = f"<name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox>"
    return f"<annotation><size><width>40</width><height>30</height></size><object>{thing}</object></annotation>"


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns two years of VOC: six images each, with one object each, every third a difficult one."""
    monkeypatch.chdir(tmp_path)
    for year in ("VOC2007", "VOC2012"):
        folder = tmp_path / "kit" / year
        for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (folder / name).mkdir(parents=True)
        for number in range(6):
            (folder / "JPEGImages" / f"{number}.jpg").write_bytes(photo())
            content = xml(NAMES[number % 3], difficult=int(number % 3 == 0))
            (folder / "Annotations" / f"{number}.xml").write_text(content)
        (folder / "ImageSets/Main/aeroplane_train.txt").write_text("0 -1\n1 -1\n2  1\n3 -1\n")
        (folder / "ImageSets/Main/val.txt").write_text("4\n5\n6\n")
    return tmp_path / "kit"


def dataset(*arguments: object) -> int:
    return main([str(argument) for argument in arguments], mode="dataset")


def shards_in(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(".tfrecord"))


def test_automl_converters_pascal_converters_own_command(kit: Path) -> None:
    flags = [f"--data_dir={kit}", "--year=VOC2012", "--set=train", "--num_shards=2", "--annotations_dir=Annotations"]
    assert dataset(*flags, "--output_path=out/pascal") == 0
    assert shards_in(Path("out")) == ["pascal-00000-of-00002.tfrecord", "pascal-00001-of-00002.tfrecord"]
    made = Manifest.load(Path("out/pascal-manifest.json"))
    assert made.num_classes == 20
    assert {name: count for name, count in made.splits["pascal"].boxes_per_class.items() if count} == {
        "cat": 1,
        "dog": 1,
        "person": 2,
    }
    truth = json.loads(Path("out/json_pascal.json").read_text())
    assert [category["id"] for category in truth["categories"]] == list(range(21))
    assert sorted(annotation["category_id"] for annotation in truth["annotations"]) == [8, 12, 15, 15]


def test_automl_converters_both_years_the_first_images_and_no_difficult_objects(kit: Path) -> None:
    flags = [f"--data_dir={kit}", "--year=merged", "--num_images=3", "--ignore_difficult_instances"]
    assert dataset(*flags, "--output_path=out/p") == 0
    split = Manifest.load(Path("out/p-manifest.json")).splits["p"]
    assert (split.num_images, split.num_boxes, split.num_negatives) == (6, 4, 2)


def test_automl_converters_label_map_in_json_decides_the_ids(kit: Path) -> None:
    Path("map.json").write_text(json.dumps({"background": 0, "dog": 1, "cat": 2}))
    assert dataset(f"--data_dir={kit}", "--set=val", "--label_map_json_path=map.json", "--output_path=out/p") == 0
    made = Manifest.load(Path("out/p-manifest.json"))
    assert made.label_map == {1: "dog", 2: "cat"}
    assert made.splits["p"].num_images == 4


def test_automl_converters_name_without_files_is_logged(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dataset(f"--data_dir={kit}", "--year=VOC2007", "--set=val", "--output_path=out/p", "--val_set=val") == 0
    said = capsys.readouterr().err
    assert "warning: 1 names of the list have neither an image nor an XML file: 6" in said
    assert "warning: No effect on the conversion of one split to one prefix: --val_set." in said


def test_automl_converters_coco_converters_own_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "val2017").mkdir()
    for number in range(3):
        (tmp_path / "val2017" / f"{number}.jpg").write_bytes(photo())
    content = {
        "images": [{"id": 7, "file_name": "1.jpg", "height": 30, "width": 40}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 90, "bbox": [4, 5, 16, 20], "area": 9, "iscrowd": 0}],
        "categories": [{"id": 90, "name": "toothbrush"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    where = f"--image_dir={tmp_path}/val2017 --object_annotations_file={tmp_path}/instances.json"
    flags = f"{where} --image_info_file=x --caption_annotations_file=y --output_file_prefix={tmp_path}/out/val"
    assert dataset(*flags.split(), "--num_threads=1", "--num_shards=32") == 0
    assert shards_in(tmp_path / "out") == ["val-00000-of-00001.tfrecord"]
    assert Manifest.load(tmp_path / "out" / "val-manifest.json").label_map == {90: "toothbrush"}
    said = capsys.readouterr().err
    assert "caption_annotations_file has no effect" in said
    assert "image_info_file has no effect beside object_annotations_file" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--set=train", "output_path must be given with set or year"),
        ("--set=minival --output_path=out/p", "set must be one of"),
        ("--year=2012 --output_path=out/p", "year must be VOC and four digits, or merged"),
        ("--label_map_json_path=map.json --output_path=out/p", "label_map_json_path must be given with set or year"),
        (
            "--set=train --image_dir=photos --output_path=out/p",
            "belongs to the VOC converter and image_dir to the COCO",
        ),
        ("--image_dir=photos --output_file_prefix=out/p", "The COCO converter needs --image_dir"),
        ("--output_file_prefix=out/p", "output_file_prefix needs a split to convert"),
        ("--set=train --output_path=out/", "must be a folder and a file name prefix"),
        ("--set=train --output_path=out/p --label_map_json_path=no.json", "names a file that does not exist"),
        ("--year=VOC2010 --output_path=out/p", "A list of images was expected"),
    ],
)
def test_automl_converters_what_cannot_be_meant_ends_with_a_sentence(
    kit: Path, flags: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    is_missing = "does not exist" in words or "was expected" in words
    assert dataset(f"--data_dir={kit}", *flags.split()) == (66 if is_missing else 2)
    assert words in capsys.readouterr().err
    assert [name for name in os.listdir() if name not in ("kit", "out")] == []


def test_automl_converters_label_map_that_is_none(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("map.json").write_text('{"dog": 0}')
    assert dataset(f"--data_dir={kit}", "--set=val", "--label_map_json_path=map.json", "--output_path=out/p") == 2
    assert "label_map_json_path must be a label map" in capsys.readouterr().err
