"""Semantic maps as overlays, and side by side with the ground truth."""

from collections.abc import Mapping

import numpy as np

from efficientdet_pipeline.visualize.boxes import class_color
from efficientdet_pipeline.visualize.grid import contact_sheet

IGNORE_ID = 255


def color_map(class_map: np.ndarray, *, background: int | None = 0) -> np.ndarray:
    """Returns each class in its colour, uint8 (h, w, 3); background and ignored pixels are black.

    Args:
      class_map: (h, w) class ids.
      background: an id without a colour; None if every id is a class.
    """
    table = np.zeros((256, 3), np.uint8)
    for class_id in np.unique(class_map).tolist():
        if class_id not in (background, IGNORE_ID):
            table[class_id] = class_color(class_id if background == 0 else class_id + 1)
    return table[class_map]


def overlay_classes(
    image: np.ndarray, class_map: np.ndarray, *, background: int | None = 0, opacity: float = 0.5
) -> np.ndarray:
    """Returns the image tinted by the classes of its pixels, with an outline in full colour around each area.

    Args:
      image: uint8 RGB (h, w, 3).
      class_map: (h, w) class ids.
      background: an id that is not tinted.
      opacity: of the tint, 0 to 1.

    Raises:
      ValueError: the sizes differ.
    """
    if image.shape[:2] != class_map.shape:
        raise ValueError(f"The map must have the image's size. Received {image.shape[:2]} and {class_map.shape}.")
    colors = color_map(class_map, background=background)
    is_tinted = class_map != IGNORE_ID
    if background is not None:
        is_tinted &= class_map != background
    opacities = np.where(_edges(class_map), 1.0, opacity) * is_tinted
    mixed = image * (1 - opacities[..., None]) + colors * opacities[..., None]
    return np.rint(mixed).astype(np.uint8)


def _edges(class_map: np.ndarray) -> np.ndarray:
    edges = np.zeros(class_map.shape, bool)
    edges[1:] |= class_map[1:] != class_map[:-1]
    edges[:-1] |= class_map[1:] != class_map[:-1]
    edges[:, 1:] |= class_map[:, 1:] != class_map[:, :-1]
    edges[:, :-1] |= class_map[:, 1:] != class_map[:, :-1]
    return edges


def compare_maps(
    image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, *, background: int | None = 0
) -> np.ndarray:
    """Returns image, ground truth, prediction and errors (white) on one sheet, uint8; ignored pixels are grey.

    Args:
      image: uint8 RGB (h, w, 3).
      truth: (h, w) class ids, 255 for ignored pixels.
      predicted: (h, w) class ids.
      background: an id that is not tinted.
    """
    mistakes = np.where((truth != predicted)[..., None], 255, 0).astype(np.uint8).repeat(3, axis=-1)
    mistakes[truth == IGNORE_ID] = 128
    counted = truth != IGNORE_ID
    wrong = float((truth != predicted)[counted].mean()) if counted.any() else 0.0
    pictures = [image, *(overlay_classes(image, each, background=background) for each in (truth, predicted)), mistakes]
    titles = ["image", "ground truth", "prediction", f"errors, {wrong:.1%}"]
    return contact_sheet(pictures, titles=titles, columns=4)


def legend_entries(class_map: np.ndarray, label_map: Mapping[int, str]) -> list[tuple[str, float]]:
    """Returns (name, share of the pixels that are not ignored) of each class of a map, largest first."""
    counts = np.bincount(class_map[class_map != IGNORE_ID].ravel(), minlength=1)
    total = max(int(counts.sum()), 1)
    rows = [
        (str(label_map.get(class_id, class_id)), int(counts[class_id]) / total)
        for class_id in np.flatnonzero(counts).tolist()
    ]
    return sorted(rows, key=lambda row: -row[1])
