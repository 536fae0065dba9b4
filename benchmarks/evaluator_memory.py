"""Benchmark of the memory that an evaluation during training needs: 1,000 and 5,000 images with 7 detections each.

A network without weights gives the same detections for every image, so that what is measured is the evaluation's own:
batches, ground truth, detections and COCO's metrics. The figure is the peak beyond what the process held before.

python benchmarks/evaluator_memory.py --output=evaluator_memory.json
"""

import argparse
import gc
import io
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any, Self

import efficientdet
import numpy as np
import tensorflow as tf
from efficientdet.anchors import feature_sizes
from PIL import Image

from efficientdet_pipeline.evaluation.evaluator import Evaluator
from efficientdet_pipeline.evaluation.ground_truth import GroundTruth
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import write_records

NUM_IMAGES = (1_000, 5_000)
BOXES = 7
SIDE = 128
LABELS = {1: "cat", 2: "dog", 3: "hen"}


class FixedOutputs:
    """A network that gives `BOXES` detections for every image."""

    def __init__(self, config: Any) -> None:
        self._sizes, self._anchors = feature_sizes(config), config.num_scales * len(config.aspect_ratios)

    def __call__(self, images: tf.Tensor, training: bool = False) -> dict[str, dict[int, tf.Tensor]]:
        """Returns logits far below every threshold, except of the first cells of the finest level."""
        outputs: dict[str, dict[int, tf.Tensor]] = {"class": {}, "box": {}}
        for level, (height, width) in self._sizes.items():
            logits = np.full((height, width, self._anchors, len(LABELS)), -20.0, np.float32)
            if level == min(self._sizes):
                for number in range(BOXES):
                    logits[2 * (number // 3), 2 * (number % 3), 0, number % len(LABELS)] = 2.0 - 0.1 * number
            for head, values in (("class", logits), ("box", np.zeros((height, width, self._anchors, 4), np.float32))):
                flat = tf.reshape(values, (1, height, width, -1))
                outputs[head][level] = tf.tile(flat, [tf.shape(images)[0], 1, 1, 1])
        return outputs


def write_images(path: Path, count: int) -> None:
    """Writes records of one image with `BOXES` objects, `count` times."""
    encoded = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(encoded, "JPEG")
    objects = tuple(
        AnnotatedObject(LABELS[1 + number % 3], (16.0 * (number // 3), 16.0 * (number % 3), 40.0, 60.0), 1 + number % 3)
        for number in range(BOXES)
    )
    images = (
        AnnotatedImage(
            filename=f"{number}.jpg", source_id=str(number), objects=objects, height=SIDE, width=SIDE, format="jpeg",
            encoded=encoded.getvalue(),
        )
        for number in range(count)
    )  # fmt: skip
    write_records(path, [encode_example(image) for image in images])


def megabytes() -> float:
    """Returns the memory of this process in MB, without pages of mapped files, which the system may drop."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no RssAnon; this benchmark needs Linux.")


class Peak:
    """The largest memory of this process while the context is open, looked at every 10 ms."""

    def __enter__(self) -> Self:
        gc.collect()
        self.before = self.largest = megabytes()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.01):
            self.largest = max(self.largest, megabytes())


def main() -> None:
    """Prints the peak of an evaluation of each number of images, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="")
    arguments = parser.parse_args()
    config = efficientdet.get_config("efficientdet-lite0", num_classes=len(LABELS), image_size=SIDE)
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (64, *NUM_IMAGES):
            path = Path(folder) / f"val-{count}.tfrecord"
            write_images(path, count)
            network: Any = FixedOutputs(config)
            evaluator = Evaluator(network, config, GroundTruth(files=(str(path),)), label_map=LABELS, batch_size=8)
            with Peak() as watched:
                ap = evaluator()["AP"]
                evaluator.kept.keep(1.0, ap)
            peak, after = watched.largest - watched.before, megabytes() - watched.before
            figures[str(count)] = {"peak_mb": round(peak, 1), "kept_mb": round(after, 1)}
            if count in NUM_IMAGES:  # The first, of 64 images, loads libraries.
                print(f"{count:>6,} images: peak {peak:6.1f} MB, kept {after:6.1f} MB, AP {ap:.3f}", flush=True)
    if arguments.output:
        Path(arguments.output).write_text(json.dumps(figures, indent=2) + os.linesep, encoding="utf-8")


if __name__ == "__main__":
    main()
