"""Segmentation of images: class maps, mask files, and COCO run lengths and polygons."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.results import class_name

MIN_POLYGON_PIXELS = 4
"""Area in pixels below which there is no polygon, only run lengths."""


def segmenter(model: Any, *, max_side: int | None = None, advprop: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from an image (h, w, 3), uint8 RGB, to class probabilities (h, w, k), float32.

    With k = 1 it is the probability of class 1.

    Args:
      model: from `efficientdet.unet.build_unet`.
      max_side: larger images are downscaled to this side for the network, and the result is upscaled.
      advprop: whether the encoder expects inputs from -1 to 1.
    """
    import tensorflow as tf
    from efficientdet.imagenet import imagenet_config
    from efficientdet.preprocess_imagenet import normalize_rgb
    from efficientdet.unet import probabilities

    config = imagenet_config(model.config.backbone_name, advprop=advprop)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.int32)])
    def run(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(image, size)
        chances = probabilities(model(normalize_rgb(resized, config)[tf.newaxis], training=False))[0]
        return tf.image.resize(chances, tf.shape(image)[:2])

    def segmented(image: np.ndarray) -> np.ndarray:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(f"An image must be uint8 RGB, (h, w, 3). Received {image.dtype} {image.shape}.")
        height, width = image.shape[:2]
        scale = min(1.0, max_side / max(height, width)) if max_side else 1.0
        size = [max(1, round(side * scale)) for side in (height, width)]
        return keras.ops.convert_to_numpy(run(image, np.array(size, np.int32)))

    return segmented


def class_map_of(chances: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Returns the class of each pixel (h, w), uint8: the most probable, or 1 if k = 1 and the threshold is reached."""
    if chances.shape[-1] == 1:
        return (chances[..., 0] >= threshold).astype(np.uint8)
    return chances.argmax(-1).astype(np.uint8)


def write_class_map(path: str | Path, class_map: np.ndarray) -> None:
    """Writes a class map as a grey PNG whose pixel values are class ids, atomically."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        Image.fromarray(np.ascontiguousarray(class_map, np.uint8)).save(part, "PNG")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def coco_segments(
    class_map: np.ndarray,
    label_map: Mapping[int, str],
    *,
    image_id: int | str,
    background: int | None = 0,
    chances: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Returns one JSON-serializable COCO entry per class of an image.

    `segmentation` are exact run lengths ({"size", "counts"}, compressed);
    `polygons` are contours along pixel edges, outer ones and holes alike, to be
    filled by the even-odd rule.

    Args:
      class_map: (h, w) class ids.
      label_map: class id → name.
      image_id: of the image.
      background: a class id without an entry.
      chances: (h, w, k), from `segmenter`; adds `score`, the mean probability over the area.
    """
    entries = []
    for class_id in np.unique(class_map).tolist():
        if class_id == background:
            continue
        area = class_map == class_id
        runs = coco_mask.encode(np.asfortranarray(area.astype(np.uint8)))
        entry: dict[str, Any] = {
            "image_id": image_id,
            "category_id": class_id,
            "category_name": class_name(class_id, label_map),
            "segmentation": {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")},
            "polygons": area_polygons(area),
            "bbox": [float(side) for side in coco_mask.toBbox(runs)],
            "area": int(area.sum()),
        }
        if chances is not None:
            column = chances[..., 0] if chances.shape[-1] == 1 else chances[..., class_id]
            entry["score"] = float(column[area].mean())
        entries.append(entry)
    return entries


def area_polygons(area: np.ndarray) -> list[list[float]]:
    """Returns the contours of an area as [x, y, x, y, …] in pixels, along pixel edges.

    Args:
      area: (h, w) bool.
    """
    # Contours pass through pixel centres. After upscaling by three, a centre is a third of an original pixel from the
    # edge, and is moved to the edge.
    threefold = area.astype(np.uint8).repeat(3, axis=0).repeat(3, axis=1)
    contours, _ = cv2.findContours(threefold, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for contour in contours:
        points = contour.reshape(-1, 2)
        if len(points) < 3 * MIN_POLYGON_PIXELS // 2:
            continue
        # Round to the nearest corner of an original pixel.
        corners = np.rint((points + 0.5) / 3)
        kept = [index for index in range(len(corners)) if (corners[index] != corners[index - 1]).any()]
        corners = corners[kept]
        if len(corners) >= 3:
            polygons.append([float(value) for value in _without_middle_points(corners).ravel()])
    return [polygon for polygon in polygons if len(polygon) >= 6]


def _without_middle_points(corners: np.ndarray) -> np.ndarray:
    """Returns a closed contour without points on a straight line between their neighbours."""
    before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
    one, two = corners - before, after - corners
    turns = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    return corners[turns != 0]
