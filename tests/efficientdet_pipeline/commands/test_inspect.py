"""--mode=inspect on intact, damaged and empty shards, and on shards without objects."""

import io
import json
import logging as standard_logging
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientdet_pipeline.cli import main
from efficientdet_pipeline.runs.output_files import NOTE
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import scan_records, write_records

PICTURES = {"raw.png", "augmented.png", "anchors.png", "boxes_per_image.png", "box_sizes.png", "aspect_ratios.png"}
PICTURES |= {"classes.png", "co_occurrence.png"}


def record(name: str, *objects: AnnotatedObject) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), 120, np.uint8)).save(content, "JPEG")
    return encode_example(
        AnnotatedImage(filename=name, objects=objects, height=48, width=64, encoded=content.getvalue())
    )


@pytest.fixture(autouse=True)
def door() -> Iterator[None]:
    """Restores signals and log handlers."""
    handler, root = signal.getsignal(signal.SIGTERM), standard_logging.getLogger()
    listeners = list(root.handlers)
    yield
    signal.signal(signal.SIGTERM, handler)
    for each in [each for each in root.handlers if each not in listeners]:
        root.removeHandler(each)


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns a folder with two splits, of three images and of one; it is the working folder."""
    cat, dog = AnnotatedObject("cat", (4, 4, 40, 40), 1), AnnotatedObject("dog", (10, 20, 44, 60), 2)
    write_records(tmp_path / "train-00000-of-00001.tfrecord", [record("a", cat), record("b", cat, dog), record("c")])
    write_records(tmp_path / "val-00000-of-00001.tfrecord", [record("d", dog)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inspect(pattern: str, *more: str) -> int:
    return main(["--mode=inspect", f"--file_pattern={pattern}", "--save_samples_dir=seen", "--image_size=64", *more])


def test_whole_shards_give_images_counts_and_a_page(shards: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert inspect("*.tfrecord", "--samples=3") == 0
    samples = {f"sample{number}.jpg" for number in range(3)}
    found = {path.name for path in (shards / "seen").iterdir()}
    assert found - {NOTE} == samples | PICTURES | {"counts.json", "index.html"}
    splits = json.loads((shards / "seen/counts.json").read_text())["splits"]
    assert {name: (split["images"], split["boxes"]) for name, split in splits.items()} == {
        "train": (3, 3),
        "val": (1, 1),
    }
    said = capfd.readouterr().out
    assert "train: 3 images, 1 of them without objects, 3 boxes (cat 2, dog 1)" in said
    assert "seen/index.html" in said


def test_the_evaluation_is_shown_under_a_name_of_its_own(shards: Path) -> None:
    assert inspect("train*", "--eval", "--samples=1") == 0
    assert (shards / "seen/evaluated.png").exists()
    assert not (shards / "seen/augmented.png").exists()


def test_damage_is_logged_after_everything_else_is_written(shards: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = shards / "train-00000-of-00001.tfrecord"
    offset = list(scan_records(path))[1].offset
    content = bytearray(path.read_bytes())
    content[offset + 50] ^= 1
    path.write_bytes(content)
    assert inspect("*.tfrecord", "--samples=2") == 65
    assert {each.name for each in (shards / "seen").iterdir()} >= PICTURES
    assert json.loads((shards / "seen/counts.json").read_text())["splits"]["train"]["images"] == 2
    said = capfd.readouterr().err
    assert f"1 damaged record (counted from 0): {path.name}, record 1 at byte {offset}" in said
    assert f"{offset:,}" in (shards / "seen/index.html").read_text()


def test_records_without_objects_are_shown(shards: Path) -> None:
    write_records(shards / "none.tfrecord", [record("a"), record("b")])
    assert inspect("none.tfrecord") == 0
    assert {path.name for path in (shards / "seen").glob("*.png")} == {
        "raw.png",
        "augmented.png",
        "boxes_per_image.png",
    }


def test_an_empty_file_holds_nothing_to_look_at(shards: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (shards / "empty.tfrecord").touch()
    assert inspect("empty.tfrecord") == 65
    assert "The shards must hold records. They hold none: empty.tfrecord." in capfd.readouterr().err
    assert "is empty" in (shards / "seen/index.html").read_text()


def test_a_pattern_without_files_is_logged(shards: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert inspect("trian*") == 66
    assert "No shards match trian* (--file_pattern)." in capfd.readouterr().err


@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_images_need_a_folder(place: str, shards: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (shards / "file").touch()
    assert inspect("train*", f"--save_samples_dir={place}") == 2
    assert f"save_samples_dir must be a folder, or not exist. Received '{place}'" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["index.html", "sample1.jpg", "raw.png", "counts.json"])
def test_a_file_of_the_users_own_is_not_replaced(shards: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    (shards / "seen").mkdir()
    (shards / "seen" / name).write_text("mine")
    assert inspect("train*", "--samples=2") == 2
    assert f"contains {name}, not written by an earlier call" in capfd.readouterr().err
    assert {path.name: path.read_text() for path in (shards / "seen").iterdir()} == {name: "mine"}


def test_an_earlier_look_is_replaced_also_one_that_noted_nothing(shards: Path) -> None:
    assert inspect("train*", "--samples=3") == 0
    assert inspect("train*", "--samples=2") == 0
    assert not (shards / "seen/sample2.jpg").exists()
    (shards / "seen" / NOTE).unlink()
    assert inspect("train*", "--samples=1") == 0
    assert not (shards / "seen/sample1.jpg").exists()


def test_hparams_vary_the_samples_as_options_do(shards: Path) -> None:
    assert inspect("train*", "--samples=1", "--autoaugment_policy=v0") == 0
    by_option = (shards / "seen/augmented.png").read_bytes()
    assert inspect("train*", "--samples=1", "--hparams=autoaugment_policy=v0") == 0
    assert (shards / "seen/augmented.png").read_bytes() == by_option


def test_what_an_option_cannot_do_here_is_logged(shards: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert inspect("train*", "--samples=1", "--close_mosaic=3") == 0
    assert "--close_mosaic has no effect here" in capfd.readouterr().err
    assert inspect("train*", "--samples=1", "--augment_recipe=strong") == 0
    assert "close_mosaic" not in capfd.readouterr().err
