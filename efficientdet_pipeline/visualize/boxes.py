"""Drawing of boxes and class names on an image.

Text is drawn with Pillow, because OpenCV's is ASCII only and class names are not.
"""

import colorsys
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from efficientdet_pipeline.inference.results import class_name

RGB = tuple[int, int, int]
Corners = tuple[int, int, int, int]
"""x0 y0 x1 y1, integer pixels, the last ones included, as in Pillow's rectangles."""

# Palette of Okabe and Ito, distinct with all forms of colour blindness ("Color Universal Design", 2008), without
# its black; highest contrast first.
DISTINCT_COLORS: Final[tuple[RGB, ...]] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)

GOLDEN_RATIO: Final = 0.618034
PURPLE: Final = 0.45
"""Offset of the hue, so that the eighth class gets a hue that the palette does not have."""


class _LineStyle(NamedTuple):
    """Line and font sizes for an image, in pixels."""

    line: int
    text: int

    @classmethod
    def of_size(cls, height: int, width: int) -> "_LineStyle":
        side = (height * width) ** 0.5
        return cls(line=max(2, round(side / 280)), text=int(np.clip(side / 40, 11, 72)))


class _Label(NamedTuple):
    """A name and its place in the image."""

    text: str
    font: ImageFont.FreeTypeFont
    corners: Corners
    margin: int


def class_color(class_id: int) -> RGB:
    """Returns the colour of a class, the same in every image.

    The first seven colours are distinct with colour blindness. Later ones step
    around the colour wheel by the golden ratio and alternate in brightness, so
    that neighbouring ids differ.
    """
    index = (class_id - 1) if class_id > 0 else 0
    if index < len(DISTINCT_COLORS):
        return DISTINCT_COLORS[index]
    brightness = (1.0, 0.6, 0.8)[index % 3]
    red, green, blue = colorsys.hsv_to_rgb((PURPLE + index * GOLDEN_RATIO) % 1, 0.85, brightness)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    class_ids: np.ndarray,
    scores: np.ndarray | None = None,
    *,
    label_map: Mapping[int, str],
    min_score: float = 0.0,
    line_thickness: int = 0,
    label_font_size: int = 0,
) -> np.ndarray:
    """Returns a copy of the image with its boxes and their names.

    Line widths and letters scale with the image. A label is above its box if
    there is room, else inside it, and never leaves the image.

    Args:
      image: uint8 RGB (h, w, 3).
      boxes: (d, 4): y0 x0 y1 x1 in pixels of `image`.
      class_ids: (d,), 1-based.
      scores: (d,), 0 to 1; None for ground truth, which is drawn completely and without percentages.
      label_map: class id to name, in any script; a class without a name is labelled by its id.
      min_score: boxes with a lower score are not drawn.
      line_thickness: in pixels; 0 chooses one by image size.
      label_font_size: in pixels; 0 chooses one by image size.
    """
    height, width = image.shape[:2]
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    line_style = _LineStyle.of_size(height, width)
    if line_thickness:
        line_style = line_style._replace(line=line_thickness)
    if label_font_size:
        line_style = line_style._replace(text=label_font_size)
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    ranks = np.ones(len(boxes)) if scores is None else np.asarray(scores, np.float64)
    # Rows that are not finite (a diverged network) have no coordinates to draw.
    drawn = [
        row for row in np.argsort(-ranks, kind="stable") if ranks[row] >= min_score and np.isfinite(boxes[row]).all()
    ]
    labels: list[_Label] = []
    for row in drawn:
        name = class_name(int(class_ids[row]), label_map)
        text = name if scores is None else f"{name} {ranks[row]:.0%}"
        labels.append(_place_label(text, _corners(boxes[row], (height, width)), labels, line_style, (height, width)))
    # Best score last, so that it is on top.
    for row in reversed(drawn):
        _draw_box(draw, _corners(boxes[row], (height, width)), class_color(int(class_ids[row])), line_style)
    for row, label in reversed(list(zip(drawn, labels, strict=True))):
        _draw_label(draw, label, class_color(int(class_ids[row])))
    return np.asarray(canvas)


def _corners(box: np.ndarray, size: tuple[int, int]) -> Corners:
    """Returns a box as integer pixels x0 y0 x1 y1 inside the image; an empty box is one pixel."""
    height, width = size
    y0, x0, y1, x1 = np.rint(np.clip(box, 0, [height - 1, width - 1] * 2)).astype(int).tolist()
    return x0, y0, max(x0, x1), max(y0, y1)


def _place_label(
    text: str, box: Corners, others: Sequence[_Label], line_style: _LineStyle, size: tuple[int, int]
) -> _Label:
    """Returns a label above its box, inside or below it: where it fits and hides no better one."""
    height, width = size
    font, text = _fitting_font(text, line_style.text, width)
    margin = max(1, line_style.text // 8)
    label_width, label_height = int(font.getlength(text)) + 2 * margin + 1, sum(font.getmetrics()) + margin
    x0, y0, _, y1 = box
    left = max(0, min(x0, width - label_width))

    def at(top: int) -> Corners:
        top = max(0, min(top, height - label_height))
        return left, top, left + label_width - 1, top + label_height - 1

    places = [at(y0 - label_height), at(y0), at(y1 + 1)]
    free = [place for place in places if not any(_overlap(place, other.corners) for other in others)]
    return _Label(text, font, (free or places)[0], margin)


def _overlap(one: Corners, other: Corners) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _draw_box(draw: ImageDraw.ImageDraw, box: Corners, color: RGB, line_style: _LineStyle) -> None:
    x0, y0, x1, y1 = box
    # A dark outline keeps the line visible on a background of the same colour.
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0))
    draw.rectangle(box, outline=color, width=line_style.line)


def _draw_label(draw: ImageDraw.ImageDraw, label: _Label, color: RGB) -> None:
    draw.rectangle(label.corners, fill=color)
    left, top, _, _ = label.corners
    red, green, blue = color
    is_bright = 0.299 * red + 0.587 * green + 0.114 * blue > 95
    draw.text((left + label.margin, top), label.text, font=label.font, fill=(0, 0, 0) if is_bright else (255, 255, 255))


def _fitting_font(label: str, size: int, width: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """Returns a font size small enough for the image; a name still too long is shortened in the middle."""
    label = " ".join(label.split())
    font = load_font(size)
    while size > 9 and font.getlength(label) > width - 4:
        size -= 1
        font = load_font(size)
    head, tail = label[: len(label) // 2], label[len(label) // 2 :]
    while font.getlength(label) > width - 4 and len(head) + len(tail) > 2:
        head, tail = head[:-1] or head, tail[1:] if len(tail) > len(head) else tail
        label = f"{head}…{tail}"
    return font, label


@functools.cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Returns DejaVu Sans, which matplotlib ships, at `size` pixels."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
