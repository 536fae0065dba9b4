"""Comparison of an exported TFLite detector in MediaPipe's ObjectDetector with the same file in this program.

MediaPipe needs an environment of its own, because it pins other versions than TensorFlow:

    python3 -m venv mediapipe && mediapipe/bin/pip install mediapipe
    python benchmarks/mediapipe_detector.py --model=export/efficientdet-lite0_nms.tflite --images=bccd.zip \
        --python=mediapipe/bin/python

Both report detections of 0.3 or more. A detection is matched if the other has one of the same class with an IoU of 0.9
or more; scores are compared where boxes are matched. There are two comparisons: on images of the size of the network's
input, where both see the same pixels, which decides on the exit code; and on the images as they are, which each resizes
in its own way (MediaPipe maps the corner of the image to the center of the first pixel). MediaPipe cuts off the
fractions of box coordinates, so they are cut off here as well.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MIN_SCORE = 0.3
MIN_IOU = 0.9
REQUIRED = 0.98

# Runs in MediaPipe's environment, which has none of this program's packages.
_CHILD = """
import json, sys
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
model, min_score, *files = sys.argv[1:]
options = vision.ObjectDetectorOptions(
    base_options=BaseOptions(model_asset_path=model), score_threshold=float(min_score), max_results=100
)
found = {}
with vision.ObjectDetector.create_from_options(options) as detector:
    for file in files:
        boxes = []
        for each in detector.detect(mp.Image.create_from_file(file)).detections:
            box, best = each.bounding_box, each.categories[0]
            corners = [box.origin_y, box.origin_x, box.origin_y + box.height, box.origin_x + box.width]
            boxes.append([best.category_name, best.score, *corners])
        found[file] = boxes
print("FOUND" + json.dumps(found))
"""


class Found(NamedTuple):
    """Detections of an image."""

    names: list[str]
    scores: np.ndarray
    boxes: np.ndarray
    """(d, 4), y0 x0 y1 x1 in pixels of the image."""


class Comparison(NamedTuple):
    """Detections of one side, and how many of them the other side has."""

    count: int
    matched: int
    score_differences: list[float]


def of_mediapipe(python: str, model: Path, files: list[Path]) -> list[Found]:
    """Returns the detections of MediaPipe's ObjectDetector."""
    command = [python, "-c", _CHILD, str(model), str(MIN_SCORE), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    if done.returncode or not lines:
        sys.exit(f"MediaPipe could not run {model}:\n{done.stderr[-2000:]}")
    content = json.loads(lines[0].removeprefix("FOUND"))
    return [_found(content[str(file)]) for file in files]


def of_this_program(model: Path, files: list[Path]) -> list[Found]:
    """Returns the detections of the same file on stretched images, with whole pixels as MediaPipe gives them."""
    from efficientdet_pipeline.inference.image_io import read_image
    from efficientdet_pipeline.inference.predictor import detect_image
    from efficientdet_pipeline.inference.tflite_loader import tflite_predictor
    from efficientdet_pipeline.models.description import label_map_beside

    names = label_map_beside(model) or {}
    predictor = tflite_predictor(model, _config(model), resize="stretch")
    rows = []
    for file in files:
        found = detect_image(predictor, read_image(file)).above(MIN_SCORE)
        rows.append(_found([[names[class_id], score, *_whole(box)] for box, score, class_id in found.rows()]))
    return rows


def _whole(box: np.ndarray) -> list[float]:
    corner, size = np.trunc(box[:2]), np.trunc(box[2:] - box[:2])
    return [*corner.tolist(), *(corner + size).tolist()]


def _config(model: Path) -> Any:
    from efficientdet_pipeline.models.description import config_beside

    config = config_beside(model)
    if config is None:
        sys.exit(f"{model} must be in the folder of its export, beside hparams_config.yaml.")
    return config


def on_canvas(model: Path, files: list[Path], folder: Path) -> list[Path]:
    """Writes the images stretched to the network's input, without loss, and returns their paths."""
    from PIL import Image

    height, width = _config(model).image_size
    paths = [folder / f"canvas-{number:02d}.png" for number in range(len(files))]
    for file, path in zip(files, paths, strict=True):
        Image.open(file).convert("RGB").resize((width, height), Image.Resampling.BILINEAR).save(path)
    return paths


def _found(rows: list[list[float | str]]) -> Found:
    values = np.array([row[1:] for row in rows], np.float64).reshape(-1, 5)
    return Found([str(row[0]) for row in rows], values[:, 0], values[:, 1:])


def compare(one: list[Found], other: list[Found]) -> Comparison:
    """Returns how many detections of `one` are in `other`; each of `other` is used once, best scores first."""
    count, differences = 0, []
    for mine, theirs in zip(one, other, strict=True):
        count += len(mine.names)
        is_free = np.ones(len(theirs.names), bool)
        for row in np.argsort(-mine.scores, kind="stable"):
            overlaps = _iou(mine.boxes[row], theirs.boxes)
            same = np.array([name == mine.names[row] for name in theirs.names], bool)
            overlaps[~(same & is_free)] = 0.0
            if len(overlaps) and overlaps.max() >= MIN_IOU:
                best = int(overlaps.argmax())
                is_free[best] = False
                differences.append(abs(float(mine.scores[row] - theirs.scores[best])))
    return Comparison(count, len(differences), differences)


def _iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return shared / np.maximum(areas - shared, 1e-9)


def _images(source: Path, folder: Path, count: int) -> list[Path]:
    """Returns the first images of a folder or zip, sorted by name; those of a zip are unpacked."""
    suffixes = (".jpg", ".jpeg", ".png")
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes)[:count]
    with zipfile.ZipFile(source) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith(suffixes))[:count]
        paths = [folder / f"{number:02d}{Path(name).suffix}" for number, name in enumerate(names)]
        for name, path in zip(names, paths, strict=True):
            path.write_bytes(archive.read(name))
    return paths


def main() -> int:
    """Prints the smaller share of matched detections of both directions; returns 1 if it is too small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="tflite_nms of an export")
    parser.add_argument("--images", type=Path, required=True, help="folder or zip of images")
    parser.add_argument("--python", required=True, help="Python of an environment with mediapipe")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--output", default="")
    given = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = _images(given.images, Path(folder), given.count)
        for what, paths in (("same pixels", on_canvas(given.model, files, Path(folder))), ("own resizing", files)):
            theirs, ours = of_mediapipe(given.python, given.model, paths), of_this_program(given.model, paths)
            results = compare(theirs, ours), compare(ours, theirs)
            figures[what] = {
                "mediapipe": sum(len(each.names) for each in theirs),
                "this program": sum(len(each.names) for each in ours),
                "matched": min(each.matched / max(each.count, 1) for each in results),
                "score difference": max(results[0].score_differences, default=0.0),
            }
            print(what, {name: round(value, 4) for name, value in figures[what].items()}, flush=True)
    if given.output:
        Path(given.output).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return int(figures["same pixels"]["matched"] < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
