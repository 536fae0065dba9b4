"""Shared types, sentinel values, and the letters for shapes.

Letters: `b` batch, `h w` height and width, `c` channels, `n` ground-truth boxes
of an image (padding included), `a` anchors of all levels, `k` classes, `d`
detections of an image.

A box is (y0, x0, y1, x1) in pixels of the network's canvas unless a name says
otherwise. A class id is the label in a data set and starts at 1; a class index
is the column of the network's output and starts at 0.
"""

from typing import Any, Final, NamedTuple

from jaxtyping import Float, Int

Tensor = Any
"""A tensor or array of any backend; the modules of the networks run on TensorFlow and on JAX."""

TensorTree = Any
"""A tensor, or tuples, lists and dicts of tensors."""

BACKGROUND: Final = -1
"""Class index of an anchor without an object."""

IGNORED: Final = -2
"""Class index of an anchor that has no loss."""

Pyramid = dict[int, Tensor]
"""Feature maps or head outputs by level; the size of level l is about 1 / 2^l of the canvas."""


class GroundTruth(NamedTuple):
    """Ground truth of a batch of images, padded to the same number of boxes."""

    boxes: Float[Tensor, "b n 4"]
    """Canvas pixels; -1 in padding rows."""
    class_ids: Int[Tensor, "b n"]
    """1-based; values below 1 mark padding rows."""


class Targets(NamedTuple):
    """Training targets of anchors."""

    class_index: Int[Tensor, "*b a"]
    """0-based, or BACKGROUND or IGNORED."""
    boxes: Float[Tensor, "*b a 4"]
    """Deltas from `boxes.encode_boxes`; zeros where no object is matched."""
    num_positives: Float[Tensor, "*b"]
    """Number of positive anchors of an image."""


class Detections(NamedTuple):
    """Detections, best first; rows from num_valid on are padding."""

    boxes: Float[Tensor, "b d 4"]
    """Pixels of the original image, not of the canvas."""
    scores: Float[Tensor, "b d"]
    class_ids: Float[Tensor, "b d"]
    """1-based, as floats: serving formats expect one numeric type."""
    num_valid: Int[Tensor, " b"]
