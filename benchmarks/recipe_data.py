"""Data sets of docs/recipes.md: each as a zip of Pascal VOC with a training and a validation list.

The zips of blood cells, nuclei, fruits, trees and images of COCO are in the folder EFFICIENTDET_TEST_DATA. Chess
pieces, faces and license plates are clones in the folder --clones:
    github.com/jsansao/ChessPiecesv23             public domain
    github.com/iniakunhuda/detr-facemask-dataset  CC BY 4.0
    github.com/RobertLucian/license-plate-dataset MIT

Of nuclei, chess, faces and plates 80 images are taken to train on and 40 to validate on, so that a row takes minutes.

Test images, where a set has some, are left out.
"""

import io
import json
import subprocess
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import cv2
import numpy as np
from PIL import Image

SMALLEST_SIDE = 4
"""Pixels; smaller areas of a mask are crumbs."""
TRAINED, VALIDATED = 80, 40
"""Images taken of a large set."""
LONGEST_SIDE = 512
"""Pixels; larger images are shrunk, since no canvas of the experiments is larger."""


@dataclass
class Sample:
    """An image with its boxes: (class, x0, y0, x1, y1) in pixels."""

    image: np.ndarray
    boxes: list[tuple[str, float, float, float, float]] = field(default_factory=list)


Split = tuple[list[Sample], list[Sample]]


def write_zip(name: str, data: Path, clones: Path, path: Path) -> None:
    """Writes the training and validation images of a set as Pascal VOC."""
    with zipfile.ZipFile(path, "w") as written:
        for part, samples in zip(("train", "val"), SETS[name](data, clones), strict=True):
            stems = [f"{part}_{index:03d}" for index in range(len(samples))]
            written.writestr(f"ImageSets/Main/{part}.txt", "\n".join(stems) + "\n")
            for stem, sample in zip(stems, samples, strict=True):
                scale = min(1.0, LONGEST_SIDE / max(sample.image.shape[:2]))
                size = [max(1, round(side * scale)) for side in sample.image.shape[1::-1]]
                image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA)
                content = io.BytesIO()
                Image.fromarray(image).save(content, "jpeg", quality=95)
                written.writestr(f"JPEGImages/{stem}.jpg", content.getvalue())
                written.writestr(f"Annotations/{stem}.xml", _annotation(stem, sample, size))


def _annotation(stem: str, sample: Sample, size: list[int]) -> str:
    width, height = size
    x_scale, y_scale = width / sample.image.shape[1], height / sample.image.shape[0]
    objects = "".join(
        f"<object><name>{escape(name)}</name><bndbox>"
        f"<xmin>{x0 * x_scale + 1:.2f}</xmin><ymin>{y0 * y_scale + 1:.2f}</ymin>"
        f"<xmax>{min(x1 * x_scale, width):.2f}</xmax><ymax>{min(y1 * y_scale, height):.2f}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in sample.boxes
        if (x1 - x0) * x_scale >= 2 and (y1 - y0) * y_scale >= 2
    )
    shape = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{stem}.jpg</filename>{shape}{objects}</annotation>"


def _decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _voc_boxes(text: bytes) -> list[tuple[str, float, float, float, float]]:
    boxes = []
    for each in ElementTree.fromstring(text).iter("object"):
        name, box = each.findtext("name") or "", each.find("bndbox")
        if box is not None:
            x0, y0, x1, y1 = (float(box.findtext(side) or 0) for side in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append((name, x0, y0, x1, y1))
    return boxes


def _some(samples: list, count: int) -> list:
    """Returns `count` of the samples, at equal distances."""
    return [samples[index * len(samples) // count] for index in range(min(count, len(samples)))]


def bccd(data: Path, _: Path) -> Split:
    """Returns blood cells: lists train (205) and val (87); test stays away."""
    source = zipfile.ZipFile(data / "bccd.zip")

    def part(name: str) -> list[Sample]:
        stems = source.read(f"ImageSets/Main/{name}.txt").decode().split()
        return [
            Sample(_decoded(source.read(f"JPEGImages/{stem}.jpg")), _voc_boxes(source.read(f"Annotations/{stem}.xml")))
            for stem in stems
        ]

    return part("train"), part("val")


def bccd_test(data: Path, _: Path) -> Split:
    """Returns blood cells: lists trainval (292) and test (72), for the one look at the end."""
    train, val = bccd(data, data)
    source = zipfile.ZipFile(data / "bccd.zip")
    stems = source.read("ImageSets/Main/test.txt").decode().split()
    test = [
        Sample(_decoded(source.read(f"JPEGImages/{stem}.jpg")), _voc_boxes(source.read(f"Annotations/{stem}.xml")))
        for stem in stems
    ]
    return train + val, test


def nuclei(data: Path, _: Path) -> Split:
    """Returns images of four fifths of the training list, and of the rest; boxes around the masks' connected areas."""
    source = zipfile.ZipFile(data / "nuclei_seg.zip")
    stems = source.read("splits/train.txt").decode().split()
    samples = []
    for stem in stems:
        mask = cv2.imdecode(np.frombuffer(source.read(f"masks/{stem}.png"), np.uint8), cv2.IMREAD_GRAYSCALE)
        areas = cv2.connectedComponentsWithStats(mask)[2][1:, :4].tolist()
        boxes = [("nucleus", x, y, x + w, y + h) for x, y, w, h in areas if min(w, h) >= SMALLEST_SIDE]
        samples.append(Sample(_decoded(source.read(f"images/{stem}.png")), boxes))
    held_out = samples[::5]
    return _some([sample for index, sample in enumerate(samples) if index % 5], TRAINED), _some(held_out, VALIDATED)


def trees(data: Path, _: Path) -> Split:
    """Returns tiles of 200 px of three images from the air; every fourth is held out."""
    source = zipfile.ZipFile(data / "deepforest_trees.zip")
    tiles = []
    for stem, suffix in (("2019_YELL_2_541000_4977000_image_crop", "png"), ("OSBS_029", "tif"), ("SOAP_061", "png")):
        image = _decoded(source.read(f"JPEGImages/{stem}.{suffix}"))
        boxes = _voc_boxes(source.read(f"Annotations/{stem}.xml"))
        for top in range(0, image.shape[0] - 199, 200):
            for left in range(0, image.shape[1] - 199, 200):
                inside = [_clipped(box, left, top) for box in boxes if _center_within(box, left, top)]
                tiles.append(Sample(image[top : top + 200, left : left + 200], inside))
    return [tile for index, tile in enumerate(tiles) if index % 4], tiles[::4]


def _center_within(box: tuple[str, float, float, float, float], left: int, top: int) -> bool:
    _, x0, y0, x1, y1 = box
    return left <= (x0 + x1) / 2 < left + 200 and top <= (y0 + y1) / 2 < top + 200


def _clipped(
    box: tuple[str, float, float, float, float], left: int, top: int
) -> tuple[str, float, float, float, float]:
    x0, y0, x1, y1 = (
        min(max(v - offset, 0.0), 200.0) for v, offset in zip(box[1:], (left, top, left, top), strict=True)
    )
    return "tree", x0, y0, x1, y1


def _coco_boxes(boxes: list[tuple[str, list[float]]]) -> list[tuple[str, float, float, float, float]]:
    return [(name, x, y, x + w, y + h) for name, (x, y, w, h) in boxes]


def _records(text: bytes) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    """Returns (file name, [(class, (x, y, width, height))]) of a file of COCO, without crowds, by file name."""
    content = json.loads(text)
    names = {each["id"]: each["name"] for each in content["categories"]}
    boxes: dict[int, list[tuple[str, list[float]]]] = {each["id"]: [] for each in content["images"]}
    for each in content["annotations"]:
        if not each.get("iscrowd"):
            boxes[each["image_id"]].append((names[each["category_id"]], each["bbox"]))
    return sorted((each["file_name"], boxes[each["id"]]) for each in content["images"])


def fruits(data: Path, _: Path) -> Split:
    """Returns 18 images of dates, figs and hazelnuts; every fourth is held out."""
    source = zipfile.ZipFile(data / "fruits_nuts_coco.zip")
    samples = [
        Sample(_decoded(source.read(f"images/{name}")), _coco_boxes(boxes))
        for name, boxes in _records(source.read("annotations/instances_trainval.json"))
    ]
    return [sample for index, sample in enumerate(samples) if index % 4], samples[::4]


def coco(data: Path, _: Path) -> Split:
    """Returns 47 and 57 images of COCO."""
    source = zipfile.ZipFile(data / "coco_permissive.zip")

    def part(name: str) -> list[Sample]:
        return [
            Sample(_decoded(source.read(f"{name}/{file}")), _coco_boxes(boxes))
            for file, boxes in _records(source.read(f"annotations/instances_{name}.json"))
        ]

    return part("train"), part("val")


def _git(clone: Path, path: str) -> bytes:
    return subprocess.run(["git", "-C", str(clone), "show", f"HEAD:{path}"], check=True, capture_output=True).stdout


def chess(_: Path, clones: Path) -> Split:
    """Returns chess pieces of 12 kinds, of its folders train and valid; test stays away."""
    clone = clones / "ChessPiecesv23"

    def part(name: str, count: int) -> list[Sample]:
        return [
            Sample(_decoded(_git(clone, f"{name}/{file}")), _coco_boxes(boxes))
            for file, boxes in _some(_records(_git(clone, f"{name}/_annotations.coco.json")), count)
        ]

    return part("train", TRAINED), part("valid", VALIDATED)


def faces(_: Path, clones: Path) -> Split:
    """Returns faces with and without masks: of train2017 and val2017."""
    clone = clones / "detr-facemask-dataset"

    def part(name: str, count: int) -> list[Sample]:
        return [
            Sample(_decoded(_git(clone, f"{name}2017/{file}")), _coco_boxes(boxes))
            for file, boxes in _some(_records(_git(clone, f"annotations/custom_{name}.json")), count)
        ]

    return part("train", TRAINED), part("val", VALIDATED)


def plates(_: Path, clones: Path) -> Split:
    """Returns license plates of the folder train; the last 60 in the order of their names are held out.

    They are frames of films: neighbours are alike, and must not be divided.
    """
    clone = clones / "license-plate-dataset"
    folder = "dataset/train/annots"
    listed = subprocess.run(
        ["git", "-C", str(clone), "ls-tree", "--name-only", "HEAD", f"{folder}/"], check=True, capture_output=True
    ).stdout.decode()
    stems = sorted(Path(line).stem for line in listed.splitlines())

    def part(chosen: list[str]) -> list[Sample]:
        return [
            Sample(
                _decoded(_git(clone, f"dataset/train/images/{stem}.jpg")),
                _voc_boxes(_git(clone, f"{folder}/{stem}.xml")),
            )
            for stem in chosen
        ]

    return part(_some(stems[:-60], TRAINED)), part(_some(stems[-60:], VALIDATED))


SETS = {
    "bccd": bccd,
    "bccd_test": bccd_test,
    "nuclei": nuclei,
    "chess": chess,
    "faces": faces,
    "plates": plates,
    "fruits": fruits,
    "trees": trees,
    "coco": coco,
}
