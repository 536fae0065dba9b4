"""What a setting gives a detector trained from scratch on a few hundred photos: the rows of docs/scratch-recipe.md.

Two data sets, D0 at 256 px, batch 8, random weights, the last checkpoint; the test photos take no part:
    bccd    blood cells: its lists train (205 photos) and val (87)
    nuclei  cell nuclei: its list train (266 photos), a fifth of it held out; boxes around the masks' connected areas

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/recipes.py bccd --name=balanced --output=recipes.json
        --num_epochs=15 --optimizer=adam --learning_rate=0.016 --lr_warmup_init=0.0016 --class_balance=0.5

Each call adds its row to the output.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np

MAIN = Path(__file__).resolve().parents[1] / "main.py"
SMALLEST_SIDE = 4
"""Pixels; smaller areas of a mask are crumbs."""


def bccd(data: Path, folder: Path) -> list[str]:
    """Returns the options that name the photos of blood cells."""
    return [f"--url_dataset={data / 'bccd.zip'}", "--train_set=train", "--val_set=val"]


def nuclei(data: Path, folder: Path) -> list[str]:
    """Writes the training photos of nuclei with boxes, as a zip of Pascal VOC; returns the options that name it."""
    source = zipfile.ZipFile(data / "nuclei_seg.zip")
    path = folder / "nuclei.zip"
    with zipfile.ZipFile(path, "w") as written:
        for stem in source.read("splits/train.txt").decode().split():
            photo = source.read(f"images/{stem}.png")
            mask = cv2.imdecode(np.frombuffer(source.read(f"masks/{stem}.png"), np.uint8), cv2.IMREAD_GRAYSCALE)
            written.writestr(f"JPEGImages/{stem}.png", photo)
            written.writestr(f"Annotations/{stem}.xml", _annotation(f"{stem}.png", mask))
    return [f"--url_dataset={path}", "--train_valid_split=0.8"]


def _annotation(name: str, mask: np.ndarray) -> str:
    height, width = mask.shape
    boxes = cv2.connectedComponentsWithStats(mask)[2][1:, :4]
    objects = "".join(
        f"<object><name>nucleus</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for x, y, w, h in boxes
        if min(w, h) >= SMALLEST_SIDE
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


DATA = {"bccd": bccd, "nuclei": nuclei}


def main() -> int:
    """Trains once, prints the row and adds it to the output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--name", required=True, help="of the row")
    parser.add_argument("--num_epochs", type=int, default=15)
    parser.add_argument("--output", default="")
    args, more = parser.parse_known_args()
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        sys.exit("EFFICIENTDET_TEST_DATA must name the folder that holds the zips.")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            str(MAIN),
            "--mode=traineval",
            *DATA[args.data](Path(data).resolve(), Path(folder)),
            "--model_name=efficientdet-d0",
            "--image_size=256",
            "--pretrained_ckpt=none",
            "--batch_size=8",
            f"--num_epochs={args.num_epochs}",
            f"--map_freq={args.num_epochs}",
            "--run_name=row",
            f"--workspace={folder}/runs",
            f"--cache_dir={folder}/cache",
            *more,
        ]
        began = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        if code:
            return code
        metrics = json.loads((Path(folder) / "runs" / "row" / "metrics.json").read_text(encoding="utf-8"))
    # There is one evaluation, at the end: the best checkpoint is the last.
    row = {"data": args.data, "name": args.name, "epochs": args.num_epochs, "options": more, "last": metrics["last"]}
    row["per_class"] = metrics["per_class"]
    row["wall_seconds"] = round(time.monotonic() - began)
    print(json.dumps(row, indent=2))
    if args.output:
        path = Path(args.output)
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        path.write_text(json.dumps([*rows, row], indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
