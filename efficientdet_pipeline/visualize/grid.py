"""Contact sheets: several images in one."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from efficientdet_pipeline.inference.results import ImageDetections, describe_no_detections
from efficientdet_pipeline.visualize.annotated_figure import (
    GREY,
    RGB,
    TEXT_COLOR,
    WHITE,
    AnnotatedFigure,
    Style,
    draw_figure,
    draw_label,
    label_corners,
    shortened,
)
from efficientdet_pipeline.visualize.boxes import draw_detections, load_font

GAP = 8
"""Space between images in pixels."""


def resize_to_fit(image: np.ndarray, boxes: np.ndarray, longest_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image and its boxes, resized to the longest side of a cell.

    Boxes are drawn afterwards, so that lines and letters are legible on small images too.
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
    """Returns an image twice, side by side: ground truth, and detections.

    Args:
      image: uint8 RGB (h, w, 3).
      truth: ground-truth boxes (n, 4) and class ids (n,), in pixels of `image`.
      found: the detections, in pixels of `image`.
      min_score: detections with a lower score are not drawn; if none remains, the title states the best score.
      longest_side: of each of the two, in pixels.
    """
    true_boxes, true_ids = truth
    cell_image, cell_boxes = resize_to_fit(image, true_boxes, longest_side)
    left = draw_detections(cell_image, cell_boxes, true_ids, label_map=label_map)
    _, cell_boxes = resize_to_fit(image, found.boxes, longest_side)
    right = draw_detections(
        cell_image, cell_boxes, found.class_ids, found.scores, label_map=label_map, min_score=min_score
    )
    is_any = bool(np.any(found.scores >= min_score))
    title = f"detections above {min_score:.2g}" if is_any else describe_no_detections(found, min_score, label_map)
    return contact_sheet([left, right], titles=["ground truth", title], columns=2)


def contact_sheet(
    images: Sequence[np.ndarray], *, titles: Sequence[str] = (), columns: int | None = None
) -> np.ndarray:
    """Returns several images as one, row by row on white.

    Args:
      images: uint8 RGB, already drawn; of any size.
      titles: one line of text above each, or none.
      columns: None makes about as many columns as rows.
    """
    if not images:
        raise ValueError("A contact sheet needs at least one image. Received none.")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    row_heights = [max(image.shape[0] for image in row) for row in rows]
    cell_width = max(image.shape[1] for image in images)
    font = load_font(max(12, min(cell_width, *row_heights) // 28))
    title_height = sum(font.getmetrics()) + GAP // 2 if titles else 0
    # A narrow image has no room for its title: its cell may be as wide as the rows are high.
    title_widths = [math.ceil(font.getlength(title)) for title in titles]
    cell_width = max(cell_width, min(max(title_widths, default=0), max(row_heights)))
    size = (columns * (cell_width + GAP) + GAP, sum(row_heights) + len(rows) * (title_height + GAP) + GAP)
    canvas = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(canvas)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        cell_left = GAP + column * (cell_width + GAP)
        left = cell_left + (cell_width - image.shape[1]) // 2
        top = GAP + sum(row_heights[:row]) + row * (title_height + GAP)
        if titles:
            start = max(cell_left, min(left, cell_left + cell_width - title_widths[number]))
            draw.text((start, top), titles[number], font=font, fill=TEXT_COLOR)
        canvas.paste(Image.fromarray(image), (left, top + title_height))
    return np.asarray(canvas)


SHEET_WIDTH = 1600
MARGIN = 24
SHEET_GAP = 16
MAX_IMAGES = 48
TITLE, TEXT, CAPTION = 30, 17, 14
MAX_LEGEND = 40
"""Classes in a legend; the others are counted."""


LegendEntry = tuple[str, RGB]
"""Text and background colour of a legend entry."""


class CaptionedImage(NamedTuple):
    """An image with its caption."""

    image: np.ndarray
    caption: str


def cell_side(count: int) -> int:
    """Returns the longest side in pixels of the images on a sheet of `count`."""
    columns = _columns(count)
    return min(620, (SHEET_WIDTH - 2 * MARGIN - (columns - 1) * SHEET_GAP) // columns)


def annotated_contact_sheet(figures: Sequence[AnnotatedFigure], style: Style, *, title: str, text: str) -> np.ndarray:
    """Returns figures side by side, with title, text and a legend of the class colours.

    Args:
      figures: at most `MAX_IMAGES` are readable.
      style: colours, font and names.
      title: one line.
      text: a sentence or two below it.
    """
    side = cell_side(len(figures))
    images = [CaptionedImage(draw_figure(figure.fitted(side), style), figure.caption) for figure in figures]
    counts = Counter(int(class_id) for figure in figures for class_id in figure.class_ids)
    counts.update(dict.fromkeys((class_id for figure in figures for class_id, _ in figure.tints), 0))
    return captioned_contact_sheet(images, style, title=title, text=text, legend=_legend(counts, style))


def captioned_contact_sheet(
    images: Sequence[CaptionedImage],
    style: Style,
    *,
    title: str,
    text: str,
    legend: Sequence[LegendEntry] = (),
    columns: int | None = None,
) -> np.ndarray:
    """Returns captioned images on one white sheet.

    Args:
      images: of any size.
      style: its font is used.
      title: one line.
      text: wrapped to the width of the sheet.
      legend: (text, colour) of each entry below the images.
      columns: images per row; None chooses by their number.
    """
    columns = columns or _columns(len(images))
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    cell = max((cell_image.image.shape[1] for cell_image in images), default=0)
    width = max(900, 2 * MARGIN + columns * cell + (columns - 1) * SHEET_GAP)
    lines = textwrap.wrap(text, int(width / (TEXT * 0.56)))
    caption_height = sum(style.font(CAPTION).getmetrics()) + 4
    top = MARGIN + TITLE + 14 + len(lines) * (TEXT + 7) + SHEET_GAP
    heights = [max(cell_image.image.shape[0] for cell_image in row) + caption_height + SHEET_GAP for row in rows]
    labels = _legend_layout(legend, style, width, top + sum(heights))
    bottom = labels[-1][1] + TEXT + 12 if labels else top + sum(heights)
    canvas = Image.new("RGB", (width, math.ceil(bottom) + MARGIN), WHITE)
    draw = ImageDraw.Draw(canvas)
    draw.text(
        (MARGIN, MARGIN - 8), shortened(title, style.font(TITLE), width - 2 * MARGIN), TEXT_COLOR, style.font(TITLE)
    )
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + TITLE + 8 + number * (TEXT + 7)), line, GREY, style.font(TEXT))
    for row, row_height in zip(rows, heights, strict=True):
        for column, cell_image in enumerate(row):
            left = MARGIN + column * (cell + SHEET_GAP)
            draw.text((left, top), _fitted_caption(cell_image.caption, style, cell), TEXT_COLOR, style.font(CAPTION))
            canvas.paste(Image.fromarray(cell_image.image), (left, top + caption_height))
        top += row_height
    for x, y, words, color in labels:
        draw_label(draw, (x, y), words, color, style.font(TEXT))
    return np.asarray(canvas)


def _fitted_caption(caption: str, style: Style, width: int) -> str:
    """Returns a caption shortened to a width in pixels; its first part, a name, is cut first."""
    name, dot, rest = caption.partition(" · ")
    font = style.font(CAPTION)
    name = shortened(name, font, max(width / 4, width - font.getlength(dot + rest)))
    return shortened(f"{name}{dot}{rest}", font, width)


def _columns(count: int) -> int:
    return next((columns for columns, most in ((1, 1), (2, 4), (3, 9), (4, 20), (5, 35)) if count <= most), 6)


def _legend(counts: Counter[int], style: Style) -> list[LegendEntry]:
    ranked = counts.most_common()
    texts = {class_id: f"  {count:,}" if count else "" for class_id, count in ranked}
    known = [(style.name(class_id) + text, style.color_of(class_id)) for class_id, text in texts.items()]
    rest = [(f"and {len(known) - MAX_LEGEND} more classes", WHITE)] if len(known) > MAX_LEGEND else []
    return known[:MAX_LEGEND] + rest


def _legend_layout(
    legend: Sequence[LegendEntry], style: Style, width: int, top: float
) -> list[tuple[float, float, str, RGB]]:
    """Returns (x, y, text, colour) of each entry, line by line."""
    left: float = MARGIN
    placed = []
    for text, color in legend:
        words = shortened(text, style.font(TEXT), width - 2 * MARGIN - 4)
        _, _, right, _ = label_corners((left, top), words, style.font(TEXT))
        if right > width - MARGIN and left > MARGIN:
            left, top = MARGIN, top + TEXT + 14
        placed.append((left, top, words, color))
        left = label_corners((left, top), words, style.font(TEXT))[2] + 10
    return placed
