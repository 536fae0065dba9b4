"""The values that cross a threshold between pages, and the letters for shapes.

One legend for the house: `b` batch, `h w` height and width, `c` channels,
`n` ground-truth boxes of an image (padding included), `a` anchors of all
levels, `k` classes, `d` detections of an image.

A box is (y0, x0, y1, x1) in pixels of the network's canvas unless a name says
otherwise. A class id is the label in a data set and starts at 1; a class index
is the network's column and starts at 0.
"""

from typing import Any, Final, NamedTuple

from jaxtyping import Float, Int

Tensor = Any
"""A tensor or array of any backend: the pure pages run on TensorFlow and on JAX."""

BACKGROUND: Final = -1
"""Class index of an anchor that should see nothing."""

IGNORED: Final = -2
"""Class index of an anchor that no loss should look at."""

Pyramid = dict[int, Tensor]
"""Feature maps or head outputs keyed by level; level l has about 1 / 2^l of the canvas."""


class GroundTruth(NamedTuple):
    """What is really on a batch of images, padded to the same number of boxes."""

    boxes: Float[Tensor, "b n 4"]
    """Canvas pixels; rows of padding are -1."""
    class_ids: Int[Tensor, "b n"]
    """1-based; anything below 1 marks a row of padding."""


class Targets(NamedTuple):
    """What each anchor should have answered."""

    class_index: Int[Tensor, "*b a"]
    """0-based, or BACKGROUND or IGNORED."""
    boxes: Float[Tensor, "*b a 4"]
    """Deltas as `boxes.encode_boxes` writes them; zeros where no object is matched."""
    num_positives: Float[Tensor, "*b"]
    """Anchors of an image that have an object."""


class Detections(NamedTuple):
    """What the network saw, best first; rows from num_valid on are padding."""

    boxes: Float[Tensor, "b d 4"]
    """Pixels of the original image, not of the canvas."""
    scores: Float[Tensor, "b d"]
    class_ids: Float[Tensor, "b d"]
    """1-based, as floats: every serving format wants one type of number."""
    num_valid: Int[Tensor, " b"]
