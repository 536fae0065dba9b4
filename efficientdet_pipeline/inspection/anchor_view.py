"""Pictures of label assignment: the anchors of a box, and their decoded targets. n: boxes, a: anchors, m: matched."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import efficientdet
import numpy as np
from efficientdet.anchors import anchor_boxes, feature_sizes
from efficientdet.boxes import pairwise_iou
from efficientdet.types import GroundTruth
from PIL import Image, ImageDraw

from efficientdet_pipeline.visualize.annotated_figure import BLACK, WHITE, AnnotatedFigure, Style
from efficientdet_pipeline.visualize.grid import CaptionedImage, captioned_contact_sheet

if TYPE_CHECKING:
    from efficientdet.config import DetectorConfig

MATCHED = 0.5
"""IoU from which an anchor is assigned to a box, as in training."""
SIDE = 376
"""Side of a picture in pixels."""
OUTSIDE = (200, 200, 200)
"""Colour outside the canvas, where anchors may extend."""
MIN_VIEW = 48
"""Smallest side in canvas pixels that a picture shows."""


class Match(NamedTuple):
    """A box and the anchors assigned to it."""

    figure: AnnotatedFigure
    """The network's canvas."""
    row: int
    """Index of the box in the figure."""
    anchors: np.ndarray
    """(m, 4), canvas pixels."""
    levels: np.ndarray
    """(m,) pyramid levels."""
    decoded: np.ndarray
    """(m, 4): the decoded targets of these anchors; each should equal the box."""
    best_overlap: float
    """Largest IoU of the box with any anchor."""

    @property
    def miss(self) -> float:
        """Returns the largest distance between decoded and true sides, in pixels."""
        return float(np.abs(self.decoded - self.figure.boxes[self.row]).max(initial=0.0))

    @property
    def is_forced(self) -> bool:
        """Returns whether no anchor reaches the IoU threshold, so that the best one is assigned."""
        return self.best_overlap < MATCHED


def matches(figure: AnnotatedFigure, config: "DetectorConfig") -> list[Match]:
    """Returns the match of each box with an area, smallest box first.

    Args:
      figure: the network's canvas and its boxes.
      config: of the network.
    """
    rows = _by_area(figure.boxes)
    if not rows:
        return []
    boxes = np.asarray(figure.boxes, np.float32)[rows]
    anchors, levels = anchor_boxes(config), anchor_levels(config)
    truth = GroundTruth(boxes[None], np.asarray(figure.class_ids, np.int32)[rows][None])
    targets = efficientdet.assign_targets(anchors, truth, matched_threshold=MATCHED)
    positive = np.flatnonzero(np.asarray(targets.class_index)[0] >= 0)
    deltas = np.asarray(targets.boxes)[0, positive]
    decoded = np.asarray(efficientdet.decode_boxes(deltas, anchors[positive]))
    # Targets do not name their box: an anchor belongs to the box that its target decodes to.
    owner = np.array([int(np.abs(boxes - box).max(axis=1).argmin()) for box in decoded])
    overlaps = np.array([float(np.asarray(pairwise_iou(box[None], anchors)).max()) for box in boxes])
    return [
        Match(
            figure=figure,
            row=row,
            anchors=anchors[positive[owner == index]],
            levels=levels[positive[owner == index]],
            decoded=decoded[owner == index],
            best_overlap=overlaps[index],
        )
        for index, row in enumerate(rows)
    ]


def anchor_levels(config: "DetectorConfig") -> np.ndarray:
    """Returns the pyramid level of each anchor, (a,)."""
    per_cell = config.num_scales * len(config.aspect_ratios)
    return np.concatenate(
        [np.full(height * width * per_cell, level) for level, (height, width) in feature_sizes(config).items()]
    )


def anchor_sides(config: "DetectorConfig") -> dict[int, tuple[float, float]]:
    """Returns the smallest and the largest sqrt(area) of the anchors of each level, in canvas pixels."""
    anchors, levels = anchor_boxes(config), anchor_levels(config)
    sides = np.sqrt((anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1]))
    return {
        int(level): (float(sides[levels == level].min()), float(sides[levels == level].max()))
        for level in np.unique(levels)
    }


def spread(found: Sequence[Match], count: int) -> list[Match]:
    """Returns at most `count` matches, evenly spaced from the smallest box to the largest."""
    ranked = sorted(found, key=lambda match: _areas(match.figure.boxes[[match.row]])[0])
    if len(ranked) <= count:
        return ranked
    return [ranked[round(step * (len(ranked) - 1) / (count - 1))] for step in range(count)]


def anchor_report(found: Sequence[Match]) -> str:
    """Returns sentences on how well the anchors fit the boxes."""
    forced = sum(match.is_forced and len(match.anchors) > 0 for match in found)
    left = sum(not len(match.anchors) for match in found)
    miss = max((match.miss for match in found), default=0.0)
    text = f"Of {len(found):,} boxes, {forced:,} overlap no anchor by {MATCHED:g} (IoU) and are assigned the best one"
    text += f"; {left:,} have no anchor, because another box has it" if left else ""
    return f"{text}. The largest error after decoding is {miss:.5f} px."


def draw_anchor_matches(view: Sequence[Match], config: "DetectorConfig", style: Style, *, text: str) -> np.ndarray:
    """Returns a contact sheet with two pictures per match: the anchors, and their decoded targets."""
    images = [image for match in view for image in _pair(match, style, config.min_level)]
    legend = [
        (f"level {level}: anchors of {least:.0f} to {most:.0f} px", _level_color(level, style, config.min_level))
        for level, (least, most) in anchor_sides(config).items()
    ]
    return captioned_contact_sheet(
        images, style, title=f"Anchors assigned to a box ({config.name})", text=text, legend=legend, columns=4
    )


def _pair(match: Match, style: Style, min_level: int) -> tuple[CaptionedImage, CaptionedImage]:
    y0, x0, y1, x1 = match.figure.boxes[match.row]
    name = style.name(int(match.figure.class_ids[match.row]))
    levels = ", ".join(f"level {level}: {count}" for level, count in sorted(Counter(match.levels.tolist()).items()))
    how = "forced: best IoU only" if match.is_forced else "best IoU"
    on_progress = f"decoded: {match.miss:.5f} px off · {how} {match.best_overlap:.2f}"
    window = _window(match)
    colors = [_level_color(int(level), style, min_level) for level in match.levels]
    raw = _view(match, window, list(zip(match.anchors, colors, strict=True)), shows_centers=True)
    decoded = _view(match, window, list(zip(match.decoded, colors, strict=True)), shows_centers=False)
    return (
        CaptionedImage(raw, f"{name} {x1 - x0:.0f}×{y1 - y0:.0f} px · {levels or 'no anchor left'}"),
        CaptionedImage(decoded, on_progress if len(match.anchors) else "no anchor: the box is not trained on"),
    )


def _view(
    match: Match,
    window: tuple[float, float, float],
    boxes: Sequence[tuple[np.ndarray, tuple[int, int, int]]],
    *,
    shows_centers: bool,
) -> np.ndarray:
    """Returns a window (top, left, side) of the canvas, with the true box in white and other boxes in colour."""
    top, left, side = window
    scale = SIDE / side
    canvas = Image.fromarray(match.figure.image)
    view = canvas.transform(
        (SIDE, SIDE),
        Image.Transform.AFFINE,
        (1 / scale, 0, left, 0, 1 / scale, top),
        Image.Resampling.BILINEAR,
        fillcolor=OUTSIDE,
    )
    draw = ImageDraw.Draw(view)

    def corners(box: np.ndarray, grown: float = 0) -> tuple[float, float, float, float]:
        y0, x0, y1, x1 = (np.asarray(box, np.float64) - [top, left, top, left]) * scale
        return x0 - grown, y0 - grown, x1 + grown, y1 + grown

    truth = match.figure.boxes[match.row]
    draw.rectangle(corners(truth, 3), outline=BLACK, width=7)
    draw.rectangle(corners(truth, 2), outline=WHITE, width=5)
    for box, color in boxes:
        draw.rectangle(corners(box), outline=color, width=1 if shows_centers and len(boxes) > 4 else 2)
        if shows_centers:
            x0, y0, x1, y1 = corners(box)
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=color, outline=BLACK)
    return np.asarray(view)


def _window(match: Match) -> tuple[float, float, float]:
    """Returns top, left and side of the square around the box and its anchors, with a margin."""
    boxes = np.concatenate([match.figure.boxes[[match.row]], match.anchors])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(MIN_VIEW, 1.15 * float((high - low).max()))
    top, left = (low + high) / 2 - side / 2
    return float(top), float(left), side


def _level_color(level: int, style: Style, min_level: int) -> tuple[int, int, int]:
    return style.color_of(level - min_level + 1)


def _by_area(boxes: np.ndarray) -> list[int]:
    areas = _areas(boxes)
    return [int(row) for row in np.argsort(areas, kind="stable") if np.isfinite(areas[row]) and areas[row] > 0]


def _areas(boxes: np.ndarray) -> np.ndarray:
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.maximum(heights, 0) * np.maximum(widths, 0)
