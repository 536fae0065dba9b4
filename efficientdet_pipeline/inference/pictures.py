"""Several pictures on one sheet: a batch at a glance, truth beside detections."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from efficientdet_pipeline.inference.detected import ImageDetections, nothing_above
from efficientdet_pipeline.inference.draw import draw_detections, load_font

PAPER = (255, 255, 255)
INK = (20, 20, 20)
GAP = 8
"""Pixels between pictures."""


def fit_tile(image: np.ndarray, boxes: np.ndarray, longest_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture and its boxes enlarged or reduced to a tile's size.

    Boxes are drawn after this, so that lines and letters of small pictures are as legible as those of large ones.
    """
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    factors = np.array([size[1] / height, size[0] / width] * 2)
    return resized, np.asarray(boxes, np.float64).reshape(-1, 4) * factors


def draw_comparison(
    image: np.ndarray,
    truth: tuple[np.ndarray, np.ndarray],
    found: ImageDetections,
    *,
    label_map: Mapping[int, str],
    min_score: float,
    longest_side: int = 480,
) -> np.ndarray:
    """Returns a picture twice, side by side: what is there, and what was found.

    Args:
      image: uint8 RGB (h, w, 3).
      truth: boxes (n, 4) and class ids (n,) that are really there, in pixels of `image`.
      found: the detections, in pixels of `image`.
      min_score: what scores less is not drawn; where that is all, the title has the best score.
      longest_side: of each of the two, in pixels.
    """
    true_boxes, true_ids = truth
    tile, tile_boxes = fit_tile(image, true_boxes, longest_side)
    left = draw_detections(tile, tile_boxes, true_ids, label_map=label_map)
    _, tile_boxes = fit_tile(image, found.boxes, longest_side)
    right = draw_detections(tile, tile_boxes, found.class_ids, found.scores, label_map=label_map, min_score=min_score)
    is_any = bool(np.any(found.scores >= min_score))
    title = f"detections above {min_score:g}" if is_any else nothing_above(found, min_score, label_map)
    return contact_sheet([left, right], titles=["ground truth", title], columns=2)


def contact_sheet(
    images: Sequence[np.ndarray], *, titles: Sequence[str] = (), columns: int | None = None
) -> np.ndarray:
    """Returns several pictures as one, row by row on white.

    Args:
      images: uint8 RGB, drawn already; of any sizes.
      titles: one line of text above each, or none.
      columns: about as many as rows where None.
    """
    if not images:
        raise ValueError("A contact sheet needs at least one picture. Received none.")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    row_heights = [max(image.shape[0] for image in row) for row in rows]
    cell_width = max(image.shape[1] for image in images)
    font = load_font(max(12, min(cell_width, *row_heights) // 28))
    title_height = sum(font.getmetrics()) + GAP // 2 if titles else 0
    size = (columns * (cell_width + GAP) + GAP, sum(row_heights) + len(rows) * (title_height + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        left = GAP + column * (cell_width + GAP) + (cell_width - image.shape[1]) // 2
        top = GAP + sum(row_heights[:row]) + row * (title_height + GAP)
        if titles:
            draw.text((left, top), titles[number], font=font, fill=INK)
        sheet.paste(Image.fromarray(image), (left, top + title_height))
    return np.asarray(sheet)
