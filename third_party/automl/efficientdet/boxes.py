"""Box arithmetic: IoU and its variants, encoding relative to anchors, clipping.

All boxes are (y0, x0, y1, x1) in pixels of the canvas; areas are height times
width, without the "+1" of integer pixel grids. `types` lists the letters of
shapes.
"""

import math

from jaxtyping import Float
from keras import ops

from efficientdet.types import Tensor

EPSILON = 1e-8
"""Added to sizes before a division or a logarithm (automl)."""

MAX_LOG_STRETCH = 12.0
"""Upper bound of log dh and log dw: a box is at most e^12, about 163,000 times as high as its anchor. That is far
beyond any canvas, while areas and their squares stay finite in float32."""


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def area(boxes: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b"]:
    """Returns height times width; boxes with y1 < y0 or x1 < x0 have area 0."""
    top, left, bottom, right = _corners(boxes)
    return ops.maximum(bottom - top, 0.0) * ops.maximum(right - left, 0.0)


def _intersection(first: Tensor, second: Tensor) -> Tensor:
    top_1, left_1, bottom_1, right_1 = _corners(first)
    top_2, left_2, bottom_2, right_2 = _corners(second)
    height = ops.maximum(ops.minimum(bottom_1, bottom_2) - ops.maximum(top_1, top_2), 0.0)
    width = ops.maximum(ops.minimum(right_1, right_2) - ops.maximum(left_1, left_2), 0.0)
    return height * width


def iou(first: Float[Tensor, "*#b 4"], second: Float[Tensor, "*#b 4"]) -> Float[Tensor, "*b"]:
    """Returns the intersection over union (IoU) of each pair, 0 to 1; shapes broadcast.

    >>> iou([[0., 0., 2., 2.]], [[0., 1., 2., 3.]])
    [0.3333]
    """
    intersection = _intersection(first, second)
    return ops.divide_no_nan(intersection, area(first) + area(second) - intersection)


def pairwise_iou(boxes: Float[Tensor, "*b n 4"], anchors: Float[Tensor, "a 4"]) -> Float[Tensor, "*b n a"]:
    """Returns the IoU of each box with each anchor, 0 to 1."""
    return iou(boxes[..., :, None, :], anchors)


def _hull(first: Tensor, second: Tensor) -> Tensor:
    """Returns the smallest boxes that enclose both."""
    return ops.concatenate(
        [ops.minimum(first[..., :2], second[..., :2]), ops.maximum(first[..., 2:], second[..., 2:])], axis=-1
    )


def giou(first: Float[Tensor, "*#b 4"], second: Float[Tensor, "*#b 4"]) -> Float[Tensor, "*b"]:
    """Returns the generalized IoU of each pair: IoU minus the empty share of the enclosing box, -1 to 1.

    Rezatofighi et al. 2019, "Generalized Intersection over Union".
    """
    intersection = _intersection(first, second)
    union = area(first) + area(second) - intersection
    hull_area = area(_hull(first, second))
    return ops.divide_no_nan(intersection, union) - ops.divide_no_nan(hull_area - union, hull_area)


def diou(first: Float[Tensor, "*#b 4"], second: Float[Tensor, "*#b 4"]) -> Float[Tensor, "*b"]:
    """Returns the distance IoU of each pair: IoU minus the squared distance of the centers.

    The distance is relative to the diagonal of the enclosing box. Zheng et al.
    2020, "Distance-IoU Loss", eq. 6.
    """
    apart = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]) / 2.0
    hull = _hull(first, second)
    diagonal = hull[..., 2:] - hull[..., :2]
    return iou(first, second) - ops.divide_no_nan(
        ops.sum(ops.square(apart), axis=-1), ops.sum(ops.square(diagonal), axis=-1)
    )


def _aspect_angle(boxes: Tensor) -> Tensor:
    top, left, bottom, right = _corners(boxes)
    return ops.arctan(ops.divide_no_nan(ops.maximum(right - left, 0.0), ops.maximum(bottom - top, 0.0)))


def ciou(
    first: Float[Tensor, "*#b 4"], second: Float[Tensor, "*#b 4"], *, weight_learns: bool = False
) -> Float[Tensor, "*b"]:
    """Returns the complete IoU of each pair: `diou` minus a penalty for different aspect ratios.

    Zheng et al. 2020, "Distance-IoU Loss", eq. 8 to 11.

    Args:
      first: boxes; the predictions in a loss.
      second: boxes of the same number.
      weight_learns: whether gradients flow through the weight of the aspect
        term, as in automl; the paper treats the weight as a constant.
    """
    overlap = iou(first, second)
    unlike = (4.0 / math.pi**2) * ops.square(_aspect_angle(first) - _aspect_angle(second))
    weight = ops.divide_no_nan(unlike, 1.0 - overlap + unlike)
    if not weight_learns:
        weight = ops.stop_gradient(weight)
    return diou(first, second) - weight * unlike


def log_centers(boxes: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Returns (center y, center x, log height, log width) of each box.

    The logarithm of a side of length 0 is that of `EPSILON`, which is finite.
    """
    center = (boxes[..., :2] + boxes[..., 2:]) / 2.0
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0) + EPSILON
    return ops.concatenate([center, ops.log(size)], axis=-1)


def relative_to_anchors(centers: Float[Tensor, "*b a 4"], anchors: Float[Tensor, "a 4"]) -> Float[Tensor, "*b a 4"]:
    """Returns the encoded boxes, for boxes in the form that `log_centers` returns."""
    anchor_size = anchors[..., 2:] - anchors[..., :2] + EPSILON
    unit = ops.concatenate([anchor_size, ops.ones_like(anchor_size)], axis=-1)
    return (centers - log_centers(anchors)) / unit


def encode_boxes(boxes: Float[Tensor, "*b a 4"], anchors: Float[Tensor, "a 4"]) -> Float[Tensor, "*b a 4"]:
    """Returns boxes encoded relative to anchors, the regression targets of the box head.

    The inverse of `decode_boxes`: (dy, dx, log dh, log dw). Faster R-CNN, eq. 2,
    without variances.
    """
    return relative_to_anchors(log_centers(boxes), anchors)


def decode_boxes(deltas: Float[Tensor, "*b a 4"], anchors: Float[Tensor, "*#b a 4"]) -> Float[Tensor, "*b a 4"]:
    """Returns predicted boxes in canvas pixels.

    Deltas are relative to an anchor: the shift of the center in anchor heights
    and widths, and the logarithm of the scale factors of height and width.
    Faster R-CNN, eq. 2, without variances. Boxes are not clipped.

    Args:
      deltas: (dy, dx, log dh, log dw), the outputs of the box head.
      anchors: from `anchors.anchor_boxes`, or the anchors of `deltas`.

    >>> decode_boxes(zeros((1, 4)), [[0., 0., 2., 4.]])   # zero deltas give the anchor itself
    [[0., 0., 2., 4.]]
    """
    anchor_size = anchors[..., 2:] - anchors[..., :2]
    center = (anchors[..., :2] + anchors[..., 2:]) / 2.0 + deltas[..., :2] * anchor_size
    # A diverging network predicts values such as e^90; without a bound the first infinite box makes every weight NaN.
    half_size = ops.exp(ops.minimum(deltas[..., 2:], MAX_LOG_STRETCH)) * anchor_size / 2.0
    return ops.concatenate([center - half_size, center + half_size], axis=-1)


def clip_boxes(boxes: Float[Tensor, "*b 4"], height: Tensor, width: Tensor) -> Float[Tensor, "*b 4"]:
    """Returns the part of each box inside (0, 0, height, width).

    Args:
      boxes: in the unit of height and width.
      height: a number, or a tensor that broadcasts with `boxes[..., 0]`.
      width: like `height`.
    """
    top, left, bottom, right = _corners(boxes)
    return ops.stack(
        [
            ops.minimum(ops.maximum(top, 0.0), height),
            ops.minimum(ops.maximum(left, 0.0), width),
            ops.minimum(ops.maximum(bottom, 0.0), height),
            ops.minimum(ops.maximum(right, 0.0), width),
        ],
        axis=-1,
    )
