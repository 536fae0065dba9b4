"""Whether the coordinates of one image are pixels or fractions of its sides."""

from collections.abc import Iterable
from typing import Literal

from tfrmod.annotated_image import Box

Unit = Literal["pixels", "fractions", "unclear"]
# Fractions may miss the edge by some rounding or a clipped object; pixels so near to the corner mark nothing.
_LOWEST, _HIGHEST = -0.5, 1.5


def unit_of(boxes: Iterable[Box]) -> Unit:
    """Returns what the numbers of all the boxes of one image are.

    Fractions never pass for pixels: they would be boxes of less than a pixel in
    the upper left corner. Where some boxes are of the one kind and some of the
    other, or the numbers are 0 and 1 alone, nobody can know.

    >>> unit_of([(0.1, 0.2, 0.3, 0.4)]), unit_of([(10, 20, 30, 40)])
    ('fractions', 'pixels')
    >>> unit_of([(0, 0, 1, 1)]), unit_of([(0.1, 0.2, 0.3, 0.4), (10, 20, 30, 40)])
    ('unclear', 'unclear')
    """
    num_small = num_large = num_fractions = 0
    is_whole = False
    for box in boxes:
        if all(_LOWEST <= side <= _HIGHEST for side in box):
            num_small += 1
            num_fractions += any(not float(side).is_integer() for side in box)
            is_whole |= box[0] != box[2] and box[1] != box[3]
        else:
            num_large += 1
    if num_large:
        return "unclear" if num_fractions else "pixels"
    if num_fractions:
        return "fractions"
    return "unclear" if num_small and is_whole else "pixels"
