"""Records and training samples as scenes that can be drawn."""

import io
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from efficientdet_pipeline.inspection.drawing import Scene
from tfrmod.annotated_image import AnnotatedImage

UNCOUNTED = 255
"""The value of pixels in a picture of classes that are not to be judged."""


def record_scene(image: AnnotatedImage, photo: np.ndarray) -> Scene:
    """Returns what a record holds: the photo as it is, its boxes, its masks.

    Args:
      image: boxes in pixels of the photo.
      photo: (h, w, 3) uint8 RGB.
    """
    name = PurePosixPath(image.filename).name or image.source_id or "without a name"
    height, width = photo.shape[:2]
    return Scene(
        image=photo,
        boxes=np.array([thing.box for thing in image.objects], np.float64).reshape(-1, 4),
        class_ids=np.array([thing.class_id for thing in image.objects], np.int64),
        tints=_tints(image),
        crowd=frozenset(row for row, thing in enumerate(image.objects) if thing.is_crowd),
        caption=f"{name} · {width}×{height} px · {_boxes(len(image.objects))}",
    )


def sample_scene(canvas: np.ndarray, boxes: np.ndarray, class_ids: np.ndarray, of: Scene) -> Scene:
    """Returns what the network sees of a record's scene `of`.

    Args:
      canvas: (H, W, 3) uint8 RGB.
      boxes: (n, 4) in its pixels.
      class_ids: (n,), 1-based.
      of: the scene of the record that it was made of.
    """
    name = of.caption.partition(" · ")[0]
    return Scene(
        image=canvas,
        boxes=np.asarray(boxes, np.float64).reshape(-1, 4),
        class_ids=np.asarray(class_ids, np.int64),
        caption=f"{name} · {_boxes(len(class_ids))} (before: {len(of.class_ids):,})",
    )


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count:,} boxes"


def _tints(image: AnnotatedImage) -> list[tuple[int, np.ndarray]]:
    tints = []
    if image.segmentation:
        classes = _pixels(image.segmentation)
        tints += [(int(value), classes == value) for value in np.unique(classes) if value not in (0, UNCOUNTED)]
    # Large ones first, so that what lies upon them is seen.
    masks = [(thing.class_id, _pixels(thing.mask) > 0) for thing in image.objects if thing.mask]
    return tints + sorted(masks, key=lambda mask: -int(mask[1].sum()))


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("L") if picture.mode == "1" else picture)
