"""Functions for notebooks: images with boxes, batches, anchors and their assignment, predictions, NaN scans, summaries.

Results are matplotlib axes or uint8 arrays, which notebooks show as the last
expression of a cell. `a` anchors, `n` boxes, `h w` height and width.

>>> batch = next(iter(dataset))
>>> show_batch_sample(batch, config, indices_2_labels={1: "cat"})
>>> decode_predictions(model(batch[0]), config, score_threshold=0.5)[0].boxes
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from efficientdet_pipeline.data.augmented_batches import load_batches
from efficientdet_pipeline.data.nan_scan import NanScan, scan_for_nan
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.run_model import load_model
from efficientdet_pipeline.models.summary import level_table, list_weights, summarize_levels, weight_table

if TYPE_CHECKING:
    from efficientdet.config import DetectorConfig
    from matplotlib.axes import Axes

    from efficientdet_pipeline.inference.results import ImageDetections

__all__ = [
    "AnchorAssignment",
    "NanScan",
    "assign_anchors",
    "canvas_image",
    "decode_predictions",
    "draw_bboxes",
    "get_anchors",
    "level_table",
    "list_weights",
    "load_batches",
    "load_model",
    "scan_for_nan",
    "show_anchor_assignment",
    "show_batch_sample",
    "show_image_with_bboxes",
    "summarize_levels",
    "weight_table",
]

BBOX_FORMATS = ("yxyx_unit", "xyxy_unit", "yxyx", "xyxy")
"""Order of the coordinates, as fractions of the image's sides (unit) or pixels."""
_NO_NAMES: Mapping[int, str] = MappingProxyType({})
_TINT = 0.45
_MAX_ANCHORS_DRAWN = 200


def boxes_in_pixels(bboxes: Any, size: tuple[int, int], bbox_format: str) -> np.ndarray:
    """Returns boxes (n, 4) as (y0, x0, y1, x1) in pixels.

    Args:
      bboxes: (n, 4).
      size: (height, width) of the image.
      bbox_format: one of `BBOX_FORMATS`.

    Raises:
      OptionsError: the format is unknown, the shape is wrong, or values are too large for fractions.
    """
    if bbox_format not in BBOX_FORMATS:
        raise OptionsError(f"bbox_format must be one of {', '.join(BBOX_FORMATS)}. Received {bbox_format!r}.")
    boxes = np.asarray(bboxes, np.float64)
    if not boxes.size:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise OptionsError(f"bboxes must be (n, 4). Received {boxes.shape}.")
    if bbox_format.startswith("xyxy"):
        boxes = boxes[:, [1, 0, 3, 2]]
    if bbox_format.endswith("unit"):
        if np.nanmax(np.abs(boxes)) > 2:
            raise OptionsError(
                f"bbox_format={bbox_format} means fractions of the image's sides. Received values up to "
                f"{np.nanmax(np.abs(boxes)):g}; for boxes in pixels use "
                f"bbox_format={bbox_format.removesuffix('_unit')}."
            )
        boxes = boxes * np.array([*size, *size])
    return boxes


def show_image_with_bboxes(
    image: np.ndarray,
    bboxes: Any,
    labels: Sequence[int] | np.ndarray | None = None,
    confidences: Sequence[float] | np.ndarray | None = None,
    masks: Sequence[np.ndarray] | np.ndarray | None = None,
    *,
    bbox_format: str = "yxyx_unit",
    indices_2_labels: Mapping[int, str] = _NO_NAMES,
    ax: "Axes | None" = None,
) -> "Axes":
    """Shows an image with its boxes, and returns the axes.

    Args:
      image: uint8 RGB (h, w, 3).
      bboxes: (n, 4).
      labels: (n,) class ids, from 1; rows below 1 are padding and not drawn. None: all boxes alike.
      confidences: (n,) scores from 0 to 1, written as percentages.
      masks: (n, h, w), drawn as tints of the class's colour.
      bbox_format: one of `BBOX_FORMATS`: yxyx_unit, xyxy_unit, yxyx or xyxy.
      indices_2_labels: class id → name; a class without a name is labelled by its id.
      ax: axes to draw on; None creates a figure.

    Raises:
      OptionsError: the numbers of boxes, labels, confidences and masks differ.
    """
    import matplotlib.pyplot as plt

    from efficientdet_pipeline.visualize.boxes import class_color, draw_detections

    boxes = boxes_in_pixels(bboxes, image.shape[:2], bbox_format)
    class_ids = np.ones(len(boxes), np.int64) if labels is None else np.asarray(labels).astype(np.int64)
    scores = None if confidences is None else np.asarray(confidences, np.float64)
    for name, values in (("labels", class_ids), ("confidences", scores), ("masks", masks)):
        if values is not None and len(values) != len(boxes):
            raise OptionsError(f"{name} must be one for each of the {len(boxes)} boxes. Received {len(values)}.")
    names = {1: ""} if labels is None and confidences is None and not indices_2_labels else indices_2_labels
    is_shown = class_ids > 0
    picture = np.array(image)
    for mask, class_id in zip(masks if masks is not None else (), class_ids, strict=False):
        area = np.asarray(mask) > 0.5
        color = np.array(class_color(int(class_id)))
        picture[area] = np.rint((1 - _TINT) * picture[area] + _TINT * color).astype(np.uint8)
    scores = scores[is_shown] if scores is not None else None
    picture = draw_detections(picture, boxes[is_shown], class_ids[is_shown], scores, label_map=names)
    axes = ax if ax is not None else plt.subplots()[1]
    axes.imshow(picture)
    axes.set_axis_off()
    return axes


def draw_bboxes(
    bboxes: Any, ax: "Axes", *, color: str = "red", line_width: float = 1.0, bbox_format: str = "yxyx"
) -> None:
    """Draws boxes as lines on axes.

    Args:
      bboxes: (n, 4).
      ax: axes that show an image; fractions refer to its size.
      color: a matplotlib color.
      line_width: in points.
      bbox_format: one of `BBOX_FORMATS`.

    Raises:
      OptionsError: boxes are fractions, and the axes show no image.
    """
    from matplotlib.patches import Rectangle

    images = ax.get_images()
    if not images and bbox_format.endswith("unit"):
        raise OptionsError("Fractions need the size of an image, but these axes show none; use boxes in pixels.")
    size = np.asarray(images[0].get_array()).shape[:2] if images else (1, 1)
    for top, left, bottom, right in boxes_in_pixels(bboxes, size, bbox_format):
        # In matplotlib, integers are the centres of pixels, here their edges.
        corner = (left - 0.5, top - 0.5)
        ax.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=color, linewidth=line_width))


def canvas_image(image: np.ndarray, config: "DetectorConfig") -> np.ndarray:
    """Returns a network input (h, w, 3) as a uint8 RGB image, with the normalization undone."""
    values = np.asarray(image, np.float32)
    if config.scale_range:
        values = (values + 1.0) * (255.0 / 2.0)
    values = values * np.asarray(config.stddev_rgb, np.float32) + np.asarray(config.mean_rgb, np.float32)
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def show_batch_sample(
    batch: tuple[Any, Any],
    config: "DetectorConfig",
    *,
    rows: int | None = None,
    max_images: int = 16,
    label_font_size: int = 0,
    indices_2_labels: Mapping[int, str] = _NO_NAMES,
) -> np.ndarray:
    """Returns the images of a training batch with their boxes on one sheet, uint8 (H, W, 3).

    Args:
      batch: (images, GroundTruth) as in training, or (images, Targets), whose boxes are decoded.
      config: of the network: normalization and anchors.
      rows: of the sheet; None makes it approximately square.
      max_images: maximum number of drawn images.
      label_font_size: of the names, in pixels of the network input; 0 chooses one by its size.
      indices_2_labels: class id → name.
    """
    from efficientdet.types import Targets

    from efficientdet_pipeline.visualize.boxes import draw_detections
    from efficientdet_pipeline.visualize.grid import contact_sheet

    images, truth = batch
    drawn = []
    for row in range(min(max_images, len(images))):
        if isinstance(truth, Targets):
            boxes, class_ids = _decoded_targets(truth, config, row)
        else:
            boxes, class_ids = np.asarray(truth[0][row]), np.asarray(truth[1][row])
            boxes, class_ids = boxes[class_ids > 0], class_ids[class_ids > 0]
        picture = canvas_image(np.asarray(images[row]), config)
        drawn.append(
            draw_detections(picture, boxes, class_ids, label_map=indices_2_labels, label_font_size=label_font_size)
        )
    return contact_sheet(drawn, columns=-(-len(drawn) // rows) if rows else None)


def _decoded_targets(targets: Any, config: "DetectorConfig", row: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the decoded boxes in the targets of one image, without duplicates, and their class ids."""
    from efficientdet.anchors import anchor_boxes
    from efficientdet.boxes import decode_boxes

    class_index = np.asarray(targets.class_index)[row]
    positive = class_index >= 0
    decoded = np.asarray(decode_boxes(np.asarray(targets.boxes)[row][positive], anchor_boxes(config)[positive]))
    found = np.concatenate([np.round(decoded, 1), class_index[positive, None] + 1], axis=1)
    unique = np.unique(found, axis=0)
    return unique[:, :4], unique[:, 4].astype(np.int64)


def get_anchors(
    input_shape: tuple[int, int] = (512, 512),
    pyramid_levels: tuple[int, int] = (3, 7),
    aspect_ratios: Sequence[float | tuple[float, float]] = (1.0, 2.0, 0.5),
    num_scales: int = 3,
    anchor_scale: float = 4.0,
    *,
    grid_zero_start: bool = False,
) -> np.ndarray:
    """Returns anchors (a, 4), float32, (y0, x0, y1, x1) as fractions of the input's sides.

    Their order is level, row, column, scale, ratio, as in the networks'
    outputs. They may exceed the edges.

    Args:
      input_shape: (height, width) in pixels.
      pyramid_levels: first and last level.
      aspect_ratios: width over height, or (width, height) factors.
      num_scales: sizes per octave.
      anchor_scale: side of a square anchor in strides.
      grid_zero_start: whether centres start at 0 instead of half a stride, as in YOLOX.

    >>> len(get_anchors((512, 512)))
    49104
    """
    from efficientdet.anchors import anchor_grid, pyramid_sizes

    sizes = pyramid_sizes(input_shape, *pyramid_levels)
    options: dict[str, Any] = {"num_scales": num_scales, "aspect_ratios": aspect_ratios, "anchor_scale": anchor_scale}
    anchors = anchor_grid(sizes, input_shape, **options)
    if grid_zero_start:
        per_cell = num_scales * len(aspect_ratios)
        half = [np.tile(np.divide(input_shape, sizes[level]) / 2, 2) for level in sorted(sizes)]
        counts = [sizes[level][0] * sizes[level][1] * per_cell for level in sorted(sizes)]
        anchors = anchors - np.repeat(half, counts, axis=0)
    return (anchors / np.tile(input_shape, 2)).astype(np.float32)


class AnchorAssignment(NamedTuple):
    """Anchors of one image and the boxes that they are assigned to."""

    anchors: np.ndarray
    """(p, 4) positive anchors, in canvas pixels."""
    decoded: np.ndarray
    """(p, 4) their decoded targets, in canvas pixels, which equal the boxes."""
    class_ids: np.ndarray
    """(p,) from 1."""
    num_anchors: int
    """Number of anchors of the network, including negatives."""


def assign_anchors(bboxes: np.ndarray, labels: np.ndarray, config: "DetectorConfig") -> AnchorAssignment:
    """Returns the anchors that the boxes of one image are assigned to, raw and decoded.

    Args:
      bboxes: (n, 4), (y0, x0, y1, x1) in pixels of the network's canvas.
      labels: (n,) class ids, from 1; rows below 1 are padding.
      config: of the network.
    """
    from efficientdet.anchors import anchor_boxes
    from efficientdet.assigners import assign_targets
    from efficientdet.boxes import decode_boxes
    from efficientdet.types import GroundTruth

    anchors = anchor_boxes(config)
    truth = GroundTruth(np.asarray(bboxes, np.float32).reshape(1, -1, 4), np.asarray(labels, np.int32).reshape(1, -1))
    targets = assign_targets(anchors, truth)
    class_index, deltas = np.asarray(targets.class_index)[0], np.asarray(targets.boxes)[0]
    positive = class_index >= 0
    decoded = np.asarray(decode_boxes(deltas[positive], anchors[positive]))
    return AnchorAssignment(anchors[positive], decoded, class_index[positive] + 1, len(anchors))


def show_anchor_assignment(
    image: np.ndarray,
    bboxes: np.ndarray,
    labels: np.ndarray,
    config: "DetectorConfig",
    *,
    indices_2_labels: Mapping[int, str] = _NO_NAMES,
) -> np.ndarray:
    """Returns three images side by side, uint8: the boxes, the positive anchors, and their decoded targets.

    Args:
      image: uint8 RGB of canvas size, see `canvas_image`.
      bboxes: as in `assign_anchors`.
      labels: likewise.
      config: of the network.
      indices_2_labels: class id → name.
    """
    from efficientdet_pipeline.visualize.boxes import draw_detections
    from efficientdet_pipeline.visualize.grid import contact_sheet

    found = assign_anchors(bboxes, labels, config)
    labels = np.asarray(labels)
    shown = slice(0, _MAX_ANCHORS_DRAWN)
    unnamed = dict.fromkeys(range(1, config.num_classes + 1), "")
    pictures = [
        draw_detections(image, np.asarray(bboxes)[labels > 0], labels[labels > 0], label_map=indices_2_labels),
        draw_detections(image, found.anchors[shown], found.class_ids[shown], label_map=unnamed),
        draw_detections(image, found.decoded[shown], found.class_ids[shown], label_map=indices_2_labels),
    ]
    titles = ["boxes", f"{len(found.anchors)} of {found.num_anchors} anchors", "decoded targets"]
    return contact_sheet(pictures, titles=titles, columns=3)


def decode_predictions(
    outputs: Mapping[str, Any],
    config: "DetectorConfig",
    *,
    score_threshold: float = 0.3,
    iou_or_sigma: float = 0.5,
    max_output_size: int = 100,
    method: str = "hard",
    mode: str = "global",
    topk: int = 0,
) -> "list[ImageDetections]":
    """Returns the detections of each image, best first, in pixels of the network's canvas.

    Calls are independent of each other.

    Args:
      outputs: of a detector, {"class": {level: logits}, "box": {level: deltas}}.
      config: of the detector.
      score_threshold: minimum score; soft-NMS lowers scores before.
      iou_or_sigma: IoU above which the hard method drops the weaker box, or sigma of the gaussian one.
      max_output_size: maximum detections per image.
      method: hard, or gaussian: soft suppression.
      mode: global, where all boxes suppress each other, or per_class.
      topk: number of (anchor, class) pairs considered, so that a box may have several classes; 0 uses only the best
        class of each anchor, and -1 all pairs.

    Raises:
      OptionsError: a value is invalid.
    """
    from efficientdet.anchors import anchor_boxes
    from efficientdet.postprocess import detections

    from efficientdet_pipeline.inference.results import per_image

    for name, value, known in (("method", method, ("hard", "gaussian")), ("mode", mode, ("global", "per_class"))):
        if value not in known:
            raise OptionsError(f"{name} must be one of {', '.join(known)}. Received {name}={value!r}.")
    if iou_or_sigma <= 0 or max_output_size < 1 or topk < -1 or not 0 <= score_threshold < 1:
        raise OptionsError(
            "iou_or_sigma must be above 0, max_output_size 1 or more, topk -1 or more and score_threshold from 0 to "
            f"below 1. Received iou_or_sigma={iou_or_sigma}, max_output_size={max_output_size}, topk={topk}, "
            f"score_threshold={score_threshold}."
        )
    settings = {
        "method": method,
        "iou_thresh": iou_or_sigma,
        "sigma": iou_or_sigma,
        "score_thresh": score_threshold,
        "max_output_size": max_output_size,
        "max_nms_inputs": len(anchor_boxes(config)) * config.num_classes if topk == -1 else topk,
    }
    return per_image(detections(config, dict(outputs), mode=mode, nms_configs=settings))
