"""Detections in every output format; unrelated files are never replaced."""

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.annotation_sinks import CropSink, VocSink, YoloSink
from efficientdet_pipeline.inference.detected import Sink
from efficientdet_pipeline.inference.image_io import read_image, write_image
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.inference.sinks import (
    CsvSink,
    DrawnSink,
    JsonSink,
    SinkWriter,
    build_sinks,
)
from efficientdet_pipeline.inference.thresholds import Thresholds
from efficientdet_pipeline.options.infer import RESULTS

LABELS = {1: "cat", 2: "so/ba\x07ka"}
FOUND = ImageDetections(
    np.array([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 8.0, 8.0], [5.0, 7.0, 5.0, 9.0]]),
    np.array([0.9, 0.5, 0.4]),
    np.array([2, 1, 1]),
)
"""The last one has no area."""


def images_in(folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / "a.png", folder / "a.jpg"]
    for path in paths:
        write_image(path, np.full((40, 80, 3), 90, np.uint8))
    return paths


def every_sink() -> list[Sink]:
    def draw(image: np.ndarray, found: ImageDetections) -> np.ndarray:
        return np.full_like(image, len(found.scores))

    texts = [JsonSink(LABELS), JsonSink(LABELS, is_coco=True), CsvSink(LABELS)]
    return [*texts, YoloSink(LABELS), VocSink(LABELS), CropSink(LABELS), DrawnSink(draw)]


def write_all(folder: Path, images: list[Path], found: ImageDetections = FOUND) -> None:
    writer = SinkWriter(folder, every_sink(), images)
    for image in images:
        writer.write(image, read_image(image), found)
    writer.close()


def test_sink_writer_shows_what_reaches_the_thresholds(tmp_path: Path) -> None:
    (image, _), out = images_in(tmp_path / "in"), tmp_path / "out"
    writer = SinkWriter(out, every_sink(), [image], thresholds=Thresholds(0.95, {1: 0.5}))
    writer.write(image, read_image(image), FOUND)
    writer.close()
    (record,) = json.loads((out / "detections.json").read_text())
    assert len(record["detections"]) == 2
    assert len(json.loads((out / "detections_coco.json").read_text())) == 2
    assert len((out / "labels/a.txt").read_text().splitlines()) == 1
    assert len((out / "detections.csv").read_text().splitlines()) == 2
    assert len(list((out / "crops").glob("*.jpg"))) == 1
    assert read_image(out / "a.png")[0, 0, 0] == 1


def test_sink_writer_writes_frames(tmp_path: Path) -> None:
    def draw(image: np.ndarray, found: ImageDetections) -> np.ndarray:
        return image

    def write_frames(count: int, *, is_interrupted: bool = False) -> None:
        writer = SinkWriter(tmp_path, build_sinks(list(RESULTS), LABELS, draw, is_video=True))
        for number in range(count):
            writer.write_frame("in/car.mp4", number, np.zeros((40, 80, 3), np.uint8), FOUND)
        if not is_interrupted:
            writer.close()

    write_frames(4, is_interrupted=True)
    write_frames(2)
    assert [each["image"] for each in json.loads((tmp_path / "detections.json").read_text())] == [
        "car.mp4#0",
        "car.mp4#1",
    ]
    assert {each["image_id"] for each in json.loads((tmp_path / "detections_coco.json").read_text())} == {
        "car.mp4#0",
        "car.mp4#1",
    }
    assert (tmp_path / "crops" / "car_000001_000_so-ba-ka.jpg").is_file()
    assert not list(tmp_path.glob("*.jpg"))
    own = {".efficientdet-files.json"}
    assert {path.name for path in (tmp_path / "labels").iterdir()} - own == {
        *("classes.txt", "car_000000.txt", "car_000001.txt")
    }
    annotations = {path.name for path in (tmp_path / "annotations").iterdir()} - own
    assert annotations == {"car_000000.xml", "car_000001.xml"}
    assert ET.parse(tmp_path / "annotations/car_000001.xml").getroot().findtext("filename") == "car_000001.jpg"
    (tmp_path / "labels" / "car_000002.txt").write_text("mine")
    with pytest.raises(OptionsError, match=r"car_000002\.txt, not written by an earlier call"):
        write_frames(3)
    assert len(build_sinks(list(RESULTS), LABELS, draw)) == len(RESULTS)


def test_sink_writer_writes_every_form(tmp_path: Path) -> None:
    images, out = images_in(tmp_path / "in"), tmp_path / "out"
    write_all(out, images)
    records = json.loads((out / "detections.json").read_text())
    assert [len(record["detections"]) for record in records] == [2, 2]
    assert len(json.loads((out / "detections_coco.json").read_text())) == 4
    assert (out / "labels/a.txt").read_text().splitlines() == [
        "1 0.500000 0.500000 0.500000 0.500000 0.900000",
        "0 0.050000 0.100000 0.100000 0.200000 0.500000",
    ]
    assert (out / "labels/a-2.txt").is_file()
    assert (out / "labels/classes.txt").read_text().splitlines()[0] == "cat"
    rows = list(csv.DictReader((out / "detections.csv").read_text(encoding="utf-8").splitlines()))
    assert [rows[0][side] for side in ("x0", "y0", "x1", "y1")] == ["20.0", "10.0", "60.0", "30.0"]
    root = ET.parse(out / "annotations/a.xml").getroot()
    assert [root.findtext(f"object/bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")] == [
        *("21.0", "11.0", "60.0", "30.0")
    ]
    assert root.findtext("object/name") == "so/baka"
    assert read_image(out / "crops/a_000_so-ba-ka.jpg").shape == (20, 40, 3)
    assert len([path for path in (out / "crops").iterdir() if path.suffix == ".jpg"]) == 4
    assert read_image(out / "a.png").max() == 2


def test_sink_writer_replaces_its_own_files_and_no_others(tmp_path: Path) -> None:
    images, out = images_in(tmp_path / "in"), tmp_path / "out"
    write_all(out, images)
    write_all(out, images, FOUND.above(0.8))
    assert len([path for path in (out / "crops").iterdir() if path.suffix == ".jpg"]) == 2
    for name in ("labels/b.txt", "detections.csv", "annotations/b.xml", "crops/b_000_so-ba-ka.jpg"):
        other = tmp_path / name.replace("/", "_")
        (other / name).parent.mkdir(parents=True)
        (other / name).write_text("mine")
        image = images[0].with_name("b.png")
        write_image(image, np.full((40, 80, 3), 90, np.uint8))
        with pytest.raises(OptionsError, match="not written by an earlier call"):
            write_all(other, [image])
        assert (other / name).read_text() == "mine"


def test_sink_writer_refuses_the_folder_of_the_images(tmp_path: Path) -> None:
    images = images_in(tmp_path / "crops")
    for folder in (tmp_path / "crops", tmp_path):
        with pytest.raises(OptionsError, match="another folder than that of the images"):
            SinkWriter(folder, every_sink(), images)


def test_sink_writer_keeps_the_list_of_classes_apart_from_an_image_of_that_name(tmp_path: Path) -> None:
    image = tmp_path / "in" / "classes.png"
    image.parent.mkdir()
    write_image(image, np.full((40, 80, 3), 90, np.uint8))
    write_all(tmp_path / "out", [image])
    assert (tmp_path / "out/labels/classes.txt").read_text().splitlines()[0] == "cat"
    assert (tmp_path / "out/labels/classes-2.txt").read_text().startswith("1 0.500000")


def test_crop_sink_adds_a_margin_within_the_image(tmp_path: Path) -> None:
    images, out = images_in(tmp_path / "in"), tmp_path / "out"
    writer = SinkWriter(out, [CropSink(LABELS, margin=0.5)], images[:1])
    writer.write(images[0], read_image(images[0]), FOUND)
    writer.close()
    assert read_image(out / "crops/a_000_so-ba-ka.jpg").shape == (40, 80, 3)
    assert read_image(out / "crops/a_001_cat.jpg").shape == (12, 12, 3)


def test_voc_sink_gives_a_box_of_less_than_a_pixel_one_pixel(tmp_path: Path) -> None:
    image = images_in(tmp_path / "in")[0]
    found = ImageDetections(np.array([[3.25, 7.1, 3.75, 9.2]]), np.array([0.9]), np.array([1]))
    writer = SinkWriter(tmp_path / "out", [VocSink(LABELS)], [image])
    writer.write(image, read_image(image), found)
    writer.close()
    box = ET.parse(tmp_path / "out" / "annotations" / "a.xml").find(".//bndbox")
    assert box is not None
    assert {side.tag: side.text for side in box} == {"xmin": "8.1", "ymin": "4.25", "xmax": "9.2", "ymax": "4.25"}
