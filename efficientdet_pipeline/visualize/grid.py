"""Contact sheets: several images on one."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from efficientdet_pipeline.inference.results import ImageDetections, nothing_above
from efficientdet_pipeline.visualize.boxes import draw_detections, load_font
from efficientdet_pipeline.visualize.scene import (
    FAINT,
    INK,
    PAPER,
    RGB,
    AnnotatedFigure,
    Style,
    chip_corners,
    draw_chip,
    draw_scene,
    shortened,
)

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


SHEET_WIDTH = 1600
MARGIN = 24
SHEET_GAP = 16
MAX_TILES = 48
TITLE, TEXT, CAPTION = 30, 17, 14
MAX_LEGEND = 40
"""Classes in a legend; the rest is counted."""


Chip = tuple[str, RGB]
"""A text of a legend, and the colour of its ground."""


class Tile(NamedTuple):
    """A finished picture with the line that stands above it."""

    image: np.ndarray
    caption: str


def tile_side(count: int) -> int:
    """Returns the longest side in pixels of the pictures of a sheet of `count`."""
    columns = _columns(count)
    return min(620, (SHEET_WIDTH - 2 * MARGIN - (columns - 1) * SHEET_GAP) // columns)


def captioned_sheet(scenes: Sequence[AnnotatedFigure], brush: Style, *, title: str, text: str) -> np.ndarray:
    """Returns scenes side by side, drawn, with what they are and what the colours mean.

    Args:
      scenes: at most `MAX_TILES` are readable.
      brush: colours, letters and names.
      title: one line.
      text: a sentence or two beneath it.
    """
    side = tile_side(len(scenes))
    tiles = [Tile(draw_scene(scene.fitted(side), brush), scene.caption) for scene in scenes]
    counts = Counter(int(class_id) for scene in scenes for class_id in scene.class_ids)
    counts.update(dict.fromkeys((class_id for scene in scenes for class_id, _ in scene.tints), 0))
    return lay_out(tiles, brush, title=title, text=text, legend=_legend(counts, brush))


def lay_out(
    tiles: Sequence[Tile],
    brush: Style,
    *,
    title: str,
    text: str,
    legend: Sequence[Chip] = (),
    columns: int | None = None,
) -> np.ndarray:
    """Returns finished pictures on one sheet of white paper.

    Args:
      tiles: of any sizes.
      brush: its letters are used.
      title: one line.
      text: wrapped to the sheet.
      legend: (text, colour) of each chip below the pictures.
      columns: pictures in a row; chosen from their number where None.
    """
    columns = columns or _columns(len(tiles))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    cell = max((tile.image.shape[1] for tile in tiles), default=0)
    width = max(900, 2 * MARGIN + columns * cell + (columns - 1) * SHEET_GAP)
    lines = textwrap.wrap(text, int(width / (TEXT * 0.56)))
    caption_height = sum(brush.font(CAPTION).getmetrics()) + 4
    top = MARGIN + TITLE + 14 + len(lines) * (TEXT + 7) + SHEET_GAP
    heights = [max(tile.image.shape[0] for tile in row) + caption_height + SHEET_GAP for row in rows]
    chips = _placed_chips(legend, brush, width, top + sum(heights))
    bottom = chips[-1][1] + TEXT + 12 if chips else top + sum(heights)
    sheet = Image.new("RGB", (width, math.ceil(bottom) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), shortened(title, brush.font(TITLE), width - 2 * MARGIN), INK, brush.font(TITLE))
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + TITLE + 8 + number * (TEXT + 7)), line, FAINT, brush.font(TEXT))
    for row, row_height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = MARGIN + column * (cell + SHEET_GAP)
            draw.text((left, top), _fitted_caption(tile.caption, brush, cell), INK, brush.font(CAPTION))
            sheet.paste(Image.fromarray(tile.image), (left, top + caption_height))
        top += row_height
    for x, y, words, color in chips:
        draw_chip(draw, (x, y), words, color, brush.font(TEXT))
    return np.asarray(sheet)


def _fitted_caption(caption: str, brush: Style, width: int) -> str:
    """Returns a caption that fits the width in pixels; its first part, a name, gives way to what follows."""
    name, dot, rest = caption.partition(" · ")
    font = brush.font(CAPTION)
    name = shortened(name, font, max(width / 4, width - font.getlength(dot + rest)))
    return shortened(f"{name}{dot}{rest}", font, width)


def _columns(count: int) -> int:
    return next((columns for columns, most in ((1, 1), (2, 4), (3, 9), (4, 20), (5, 35)) if count <= most), 6)


def _legend(counts: Counter[int], brush: Style) -> list[Chip]:
    ranked = counts.most_common()
    texts = {class_id: f"  {count:,}" if count else "" for class_id, count in ranked}
    known = [(brush.name(class_id) + text, brush.color_of(class_id)) for class_id, text in texts.items()]
    rest = [(f"and {len(known) - MAX_LEGEND} more classes", PAPER)] if len(known) > MAX_LEGEND else []
    return known[:MAX_LEGEND] + rest


def _placed_chips(legend: Sequence[Chip], brush: Style, width: int, top: float) -> list[tuple[float, float, str, RGB]]:
    """Returns (x, y, text, colour) of each chip, line by line."""
    left: float = MARGIN
    placed = []
    for text, color in legend:
        words = shortened(text, brush.font(TEXT), width - 2 * MARGIN - 4)
        _, _, right, _ = chip_corners((left, top), words, brush.font(TEXT))
        if right > width - MARGIN and left > MARGIN:
            left, top = MARGIN, top + TEXT + 14
        placed.append((left, top, words, color))
        left = chip_corners((left, top), words, brush.font(TEXT))[2] + 10
    return placed
