"""Annotated figures: an image with its boxes, class names and masks."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.counted import counted

RGB = tuple[int, int, int]
Corners = tuple[float, float, float, float]
"""x0 y0 x1 y1 in pixels, as Pillow takes them."""

WHITE: RGB = (255, 255, 255)
TEXT_COLOR: RGB = (25, 25, 25)
GREY: RGB = (105, 105, 105)
BLACK: RGB = (0, 0, 0)

MAX_NAMED = 40
"""Boxes per image up to which class names are drawn; beyond, the legend explains the colours."""
LARGE = 24
"""Side in px from which a box gets a thick line with a dark outline, which would hide a smaller object."""
MIN_SIDE_NAMED = 80
"""Smallest side of an image in px on which names are drawn."""
NAMED_PART = 0.12
"""Largest share of an image that names may cover."""
LABEL_SIZE = 12
TINT = 0.45
"""Opacity of masks."""


class Style(NamedTuple):
    """Colours, font and class names, the same for all images of a page."""

    color_of: Callable[[int], RGB]
    """Class id → colour."""
    font: Callable[[int], ImageFont.FreeTypeFont]
    """Font by size in pixels."""
    label_map: Mapping[int, str]

    def name(self, class_id: int) -> str:
        """Returns the name of a class in one line, or its id."""
        return " ".join(str(self.label_map.get(class_id, class_id)).split())


class AnnotatedFigure(NamedTuple):
    """An image and its annotations."""

    image: np.ndarray
    """(h, w, 3) uint8 RGB."""
    boxes: np.ndarray
    """(n, 4): y0 x0 y1 x1 in pixels of `image`."""
    class_ids: np.ndarray
    """(n,), 1-based."""
    tints: Sequence[tuple[int, np.ndarray]] = ()
    """(class id, (h, w) bool) of each tinted area."""
    crowd: frozenset[int] = frozenset()
    """Indices of crowd boxes."""
    caption: str = ""

    def fitted(self, longest_side: int) -> "AnnotatedFigure":
        """Returns the resized figure; boxes are drawn afterwards, so that line widths do not change."""
        height, width = self.image.shape[:2]
        scale = longest_side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = np.asarray(Image.fromarray(self.image).resize(size, Image.Resampling.LANCZOS))
        factors = np.array([size[1] / height, size[0] / width] * 2)
        tints = [(class_id, _resized(area, size)) for class_id, area in self.tints]
        boxes = np.asarray(self.boxes, np.float64).reshape(-1, 4) * factors
        return self._replace(image=image, boxes=boxes, tints=tints)


def draw_figure(figure: AnnotatedFigure, style: Style) -> np.ndarray:
    """Returns a copy of the image with masks as a tint, boxes as lines, and names where there is room.

    Large boxes are drawn first, so that small ones stay visible.
    """
    canvas = Image.fromarray(_tinted(figure, style))
    draw = ImageDraw.Draw(canvas)
    ranked = _large_first(figure.boxes)
    for row in ranked:
        _draw_box(draw, _corners(figure.boxes[row], canvas.size), style.color_of(int(figure.class_ids[row])))
    if len(figure.boxes) <= MAX_NAMED and min(canvas.size) >= MIN_SIDE_NAMED:
        _draw_names(draw, figure, style, ranked)
    return np.asarray(canvas)


def draw_label(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, color: RGB, font: ImageFont.FreeTypeFont
) -> None:
    """Writes a text on a background of `color`, in black or white by contrast; `place` is x, y."""
    draw.rectangle(label_corners(place, text, font), fill=color)
    red, green, blue = color
    is_bright = 0.299 * red + 0.587 * green + 0.114 * blue > 95
    draw.text((place[0] + 2, place[1]), text, font=font, fill=BLACK if is_bright else WHITE)


def label_corners(place: tuple[float, float], text: str, font: ImageFont.FreeTypeFont) -> Corners:
    """Returns the corners of a label at x, y."""
    return place[0], place[1], place[0] + font.getlength(text) + 4, place[1] + sum(font.getmetrics())


def _large_first(boxes: np.ndarray) -> list[int]:
    """Returns the indices of the boxes that can be drawn, large ones first."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return [int(row) for row in np.argsort(-areas, kind="stable") if np.isfinite(boxes[row]).all()]


def _corners(box: np.ndarray, size: tuple[int, int]) -> Corners:
    width, height = size
    y0, x0, y1, x1 = np.rint(np.clip(box, 0, [height - 1, width - 1] * 2)).tolist()
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _draw_box(draw: ImageDraw.ImageDraw, corners: Corners, color: RGB) -> None:
    x0, y0, x1, y1 = corners
    is_large = min(x1 - x0, y1 - y0) >= LARGE
    if is_large:
        # A dark outline keeps the line visible on a background of the same colour.
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=BLACK)
    draw.rectangle(corners, outline=color, width=2 if is_large else 1)


def _draw_names(draw: ImageDraw.ImageDraw, figure: AnnotatedFigure, style: Style, ranked: Sequence[int]) -> None:
    """Writes names above their boxes, inside or below, largest box first, while there is room."""
    font = style.font(LABEL_SIZE)
    height, width = figure.image.shape[:2]
    taken: list[Corners] = []
    room = NAMED_PART * height * width
    for row in ranked:
        x0, y0, _, y1 = _corners(figure.boxes[row], (width, height))
        name = style.name(int(figure.class_ids[row])) + (" (crowd)" if row in figure.crowd else "")
        name = shortened(name, font, 0.7 * width)
        _, _, chip_width, chip_height = label_corners((0, 0), name, font)
        room -= chip_width * chip_height
        if room < 0 and taken:
            return
        left = max(0.0, min(x0, width - chip_width))
        for top in (y0 - chip_height, y0 + 1, y1 + 1):
            corners = label_corners((left, top), name, font)
            if corners[1] >= 0 and corners[3] < height and not any(_overlap(corners, other) for other in taken):
                taken.append(corners)
                draw_label(draw, (left, top), name, style.color_of(int(figure.class_ids[row])), font)
                break


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Returns the text shortened in the middle to a width in pixels; names differ at their ends."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= width:
            return short
    return "…"


def _overlap(one: Corners, other: Corners) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _tinted(figure: AnnotatedFigure, style: Style) -> np.ndarray:
    """Returns the image with each area tinted in the colour of its class."""
    if not figure.tints:
        return figure.image
    image = figure.image.astype(np.float32)
    for class_id, area in figure.tints:
        image[area] = (1 - TINT) * image[area] + TINT * np.array(style.color_of(class_id), np.float32)
    return np.rint(image).astype(np.uint8)


def _resized(area: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image_file = Image.fromarray(area.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image_file) > 127


UNCOUNTED = 255
"""Value of pixels in a semantic map that are not evaluated."""


def record_figure(image: AnnotatedImage, image_pixels: np.ndarray) -> AnnotatedFigure:
    """Returns the figure of a record: its image, boxes and masks.

    Args:
      image: boxes in image pixels.
      image_pixels: (h, w, 3) uint8 RGB.
    """
    name = PurePosixPath(image.filename).name or image.source_id or "without a name"
    height, width = image_pixels.shape[:2]
    return AnnotatedFigure(
        image=image_pixels,
        boxes=np.array([obj.box for obj in image.objects], np.float64).reshape(-1, 4),
        class_ids=np.array([obj.class_id for obj in image.objects], np.int64),
        tints=_tints(image),
        crowd=frozenset(row for row, obj in enumerate(image.objects) if obj.is_crowd),
        caption=f"{name} · {width}×{height} px · {counted(len(image.objects), 'box')}",
    )


def sample_figure(canvas: np.ndarray, boxes: np.ndarray, class_ids: np.ndarray, of: AnnotatedFigure) -> AnnotatedFigure:
    """Returns the figure of a network input made from the record of figure `of`.

    Args:
      canvas: (H, W, 3) uint8 RGB.
      boxes: (n, 4) in canvas pixels.
      class_ids: (n,), 1-based.
      of: the figure of the source record.
    """
    name = of.caption.partition(" · ")[0]
    return AnnotatedFigure(
        image=canvas,
        boxes=np.asarray(boxes, np.float64).reshape(-1, 4),
        class_ids=np.asarray(class_ids, np.int64),
        caption=f"{name} · {counted(len(class_ids), 'box')} (before: {len(of.class_ids):,})",
    )


def _tints(image: AnnotatedImage) -> list[tuple[int, np.ndarray]]:
    tints = []
    if image.segmentation:
        classes = _pixels(image.segmentation)
        tints += [(int(value), classes == value) for value in np.unique(classes) if value not in (0, UNCOUNTED)]
    # Large areas first, so that smaller ones on top stay visible.
    masks = [(obj.class_id, _pixels(obj.mask) > 0) for obj in image.objects if obj.mask]
    return tints + sorted(masks, key=lambda mask: -int(mask[1].sum()))


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image_file:
        return np.asarray(image_file.convert("L") if image_file.mode == "1" else image_file)
