"""Callbacks for detectors built from parts: COCO metrics and drawn predictions after each epoch.

Both read datasets of samples from `data.named_pipeline`: image (normalized),
bboxes in canvas pixels, labels from 0, and mask.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from efficientdet.detectors.detector import OneStageDetector
from efficientdet.postprocess import candidate_detections
from efficientdet.types import Detections
from keras import ops
from PIL import Image

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.evaluation.coco import coco_metrics
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.json_fields import number_field
from efficientdet_pipeline.visualize.boxes import draw_detections

COCO_SLICE = (0.5, 0.05, 0.95)
"""First IoU threshold, step and last threshold of COCO's average precision."""


class _Row(NamedTuple):
    """One image of a batch, in numpy."""

    image: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    """1-based."""


def predict_detections(detector: OneStageDetector, images: object, **nms_configs: object) -> Detections:
    """Returns the detections on a batch of normalized canvases, best first, in canvas pixels.

    The network runs in inference mode.

    Args:
      detector: any detector built from parts.
      images: (b, h, w, 3).
      **nms_configs: replace the detector's own.
    """
    images = np.asarray(images)
    candidates = detector.decode(detector(images, training=False))
    boxes, scores = (tf.constant(ops.convert_to_numpy(value)) for value in candidates)
    return candidate_detections(
        boxes, scores, image_size=images.shape[1:3], nms_configs={**detector.nms_configs, **nms_configs}
    )


def detection_rows(found: Detections) -> np.ndarray:
    """Returns rows [image index, class index from 0, ymin, xmin, ymax, xmax, score], (d, 7) float32."""
    rows = []
    for index, count in enumerate(np.asarray(found.num_valid)):
        boxes, scores, class_ids = (np.asarray(value[index][:count]) for value in found[:3])
        columns = [np.full(count, index), class_ids - 1, *boxes.T, scores]
        rows.append(np.stack(columns, axis=-1).astype(np.float32))
    return np.concatenate(rows) if rows else np.zeros((0, 7), np.float32)


class CocoCallback(keras.callbacks.Callback):
    """Writes `epoch_coco_{n}.json` with COCO metrics after each epoch, and adds AP and AP50 to the logs.

    Every image counts, also without objects or detections.

    Args:
      dataset: batches of samples.
      map_slice: first IoU threshold, step and last: only COCO's are supported.
      log_dir: folder of the files.
      class_names: by class index; a class without a name is named by its id.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        *,
        map_slice: Sequence[float] = COCO_SLICE,
        log_dir: str | Path = "./logs",
        class_names: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if tuple(map_slice) != COCO_SLICE:
            raise OptionsError(f"map_slice must be {COCO_SLICE}, that of COCO. Received {tuple(map_slice)}.")
        self.dataset = dataset
        self.log_dir = Path(log_dir)
        self.class_names = dict(enumerate(class_names, start=1))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates; epochs are counted from 1."""
        metrics = self.evaluate()
        self.log_dir.mkdir(parents=True, exist_ok=True)
        content = {"map_slice_{}:{}:{}".format(*COCO_SLICE): metrics["AP"], **metrics}
        (self.log_dir / f"epoch_coco_{epoch + 1}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        if logs is not None:
            logs |= {name: number_field(metrics, name) for name in ("AP", "AP50")}

    def evaluate(self) -> dict[str, object]:
        """Returns the COCO metrics; see `evaluation.coco.coco_metrics`.

        Raises:
          DataError: the dataset has no images.
        """
        truth: list[TruthImage] = []
        detected: list[ImageDetections] = []
        # Average precision needs the low scores, of any class.
        settings = {"mode": "per_class", "max_nms_inputs": 5000, "score_thresh": 0.001, "max_output_size": 100}
        for batch in self.dataset:
            found = predict_detections(self.model, batch["image"], **settings)
            for index, row in enumerate(_rows(batch)):
                name = str(len(truth))
                truth.append(TruthImage(name, row.boxes, row.class_ids))
                count = int(found.num_valid[index])
                boxes, scores, class_ids = (np.asarray(value[index][:count]) for value in found[:3])
                detected.append(ImageDetections(boxes, scores, class_ids.astype(int), source_id=name))
        if not truth:
            raise DataError("An evaluation needs images. The dataset is empty; check drop_remainder.")
        return coco_metrics(truth, detected, self.class_names)


class DrawCallback(keras.callbacks.Callback):
    """Writes `{log_dir}/{epoch}/{i}_predict.jpg` after each epoch, and `{i}_label.jpg` after the first.

    Args:
      dataset: batches of samples; the first images are drawn.
      total_sample: number of images.
      log_dir: folder of the drawings.
      mean: of RGB pixels, 0 to 255, used for normalization; None: the detector's.
      std: likewise.
      class_names: by class index.
      min_score: minimum score of drawn boxes.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        *,
        total_sample: int = 1,
        log_dir: str | Path = "./logs_draw",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        class_names: Sequence[str] = (),
        min_score: float = 0.3,
    ) -> None:
        super().__init__()
        if total_sample < 1:
            raise OptionsError(f"total_sample must be 1 or more. Received {total_sample}.")
        self.dataset = dataset
        self.total_sample = total_sample
        self.log_dir = Path(log_dir)
        self.normalization = (mean, std)
        self.class_names = dict(enumerate(class_names, start=1))
        self.min_score = min_score

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Draws; epochs are counted from 1."""
        folder = self.log_dir / str(epoch + 1)
        folder.mkdir(parents=True, exist_ok=True)
        names = {class_id: self.class_names.get(class_id, str(class_id)) for class_id in range(1, 1 + self._classes())}
        drawn = 0
        for batch in self.dataset:
            found = predict_detections(self.model, batch["image"])
            for index, row in enumerate(_rows(batch)):
                if drawn == self.total_sample:
                    return
                pixels = self._pixels(row.image)
                boxes, scores, class_ids = (np.asarray(value[index]) for value in found[:3])
                kept = np.arange(len(boxes)) < int(found.num_valid[index])
                predicted = draw_detections(
                    pixels, boxes[kept], class_ids[kept].astype(int), scores[kept], label_map=names,
                    min_score=self.min_score,
                )  # fmt: skip
                Image.fromarray(predicted).save(folder / f"{drawn}_predict.jpg")
                if epoch == 0:
                    label = draw_detections(pixels, row.boxes, row.class_ids, label_map=names)
                    Image.fromarray(label).save(folder / f"{drawn}_label.jpg")
                drawn += 1

    def _classes(self) -> int:
        return int(self.model.num_classes)

    def _pixels(self, image: np.ndarray) -> np.ndarray:
        """Returns a normalized image as uint8."""
        own = self.model.normalization
        mean, deviation = (
            given if given is not None else of for given, of in zip(self.normalization, own, strict=True)
        )
        return np.clip(
            np.rint(image * np.asarray(deviation, np.float32) + np.asarray(mean, np.float32)), 0, 255
        ).astype(np.uint8)


def _rows(batch: Mapping[str, object]) -> Iterator[_Row]:
    """Yields the images of a batch without the padding of their objects."""
    images, boxes = np.asarray(batch["image"]), np.asarray(batch["bboxes"], np.float32)
    labels = np.asarray(batch["labels"]).reshape(boxes.shape[:2])
    masks = np.asarray(batch["mask"]).reshape(boxes.shape[:2]) > 0
    for image, box, label, mask in zip(images, boxes, labels, masks, strict=True):
        yield _Row(image, box[mask], label[mask].astype(int) + 1)
