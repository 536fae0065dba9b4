"""Lines of a YOLO label file: the meaning of the numbers, and whether it is certain."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tfrmod.errors import DatasetError

Numbers = Sequence[float]

LABEL_LINE = re.compile(r"\d+(\.0*)?(\s+[-+]?[\d.]+([eE][-+]?\d+)?){4,}\s*")
_MAX_DIGITS = 6  # Of a class index.
# Coordinates may exceed the edge by rounding and are clipped; larger values are something else, such as pixels.
_FARTHEST = 0.5
_TOLERANCE = 0.01
# An outline may exceed the image slightly; a track id or a visibility is at least 2.
_FARTHEST_OUTLINE = 0.1
_MOSTLY = 0.9
_FEW_CORNERS = 0.3
_ADVICE = (
    "for keypoints, state kpt_shape: [number, 2 or 3] in data.yaml; if a confidence or a track id follows the box, "
    "remove these columns; of an outline, repeat the first point at its end"
)


class DoubtfulLineError(DatasetError):
    """A line has an object whose position is ambiguous."""


class Survey(NamedTuple):
    """Common properties of the lines of many files, which a single line does not show."""

    has_outlines: bool
    """Lines with more than four numbers are outlines, even if a single one could be a box with other values."""
    has_corners: bool
    """The four numbers of a box are its corners, which is not YOLO's format."""


def parse(line: str) -> tuple[int, list[float]]:
    """Returns the class index and the numbers after it.

    Raises:
      DatasetError: the line has another form.
    """
    try:
        index, *numbers = map(float, line.split())
    except ValueError:
        raise DatasetError(f"{line.strip()!r:.60} is not a class and numbers") from None
    if not index.is_integer() or not 0 <= index < 10**_MAX_DIGITS:
        raise DatasetError(f"the class {index:g} is not a number of at least 0")
    return int(index), numbers


def is_outline(numbers: Numbers, keypoints: tuple[int, int] | None, *, has_outlines: bool) -> bool:
    """Returns whether the numbers are an outline x, y, x, y, …; otherwise the first four are a box.

    Args:
      numbers: after the class, in fractions of the image's sides.
      keypoints: number of points after each box and numbers per point, from data.yaml.
      has_outlines: of the `Survey` of all lines.

    Raises:
      DoubtfulLineError: more than four numbers that could be either, or neither.
      DatasetError: the numbers are not a box.
    """
    if len(numbers) < 4:
        raise DatasetError(f"{len(numbers)} numbers follow the class, where a box has 4 and an outline an even number")
    if len(numbers) > 4 and keypoints is not None:
        count, dimensions = keypoints
        if len(numbers) != 4 + count * dimensions:
            raise DoubtfulLineError(
                f"{len(numbers)} numbers follow the class, where kpt_shape [{count}, {dimensions}] makes "
                f"{4 + count * dimensions}"
            )
    outlined = len(numbers) > 4 and keypoints is None
    if outlined and len(numbers) % 2:
        raise DoubtfulLineError(
            f"{len(numbers)} numbers follow the class, where a box has 4 and an outline an even number; {_ADVICE}"
        )
    shown = " ".join(f"{number:g}" for number in numbers)
    coordinates = numbers if outlined else numbers[:4]
    if not all(-_FARTHEST <= number <= 1 + _FARTHEST for number in coordinates):
        advice = f"; {_ADVICE}" if outlined and _is_box(numbers) else ""
        kind = DoubtfulLineError if advice else DatasetError
        raise kind(f"{shown:.60} are not fractions of the image's sides, from 0 to 1{advice}")
    if outlined and (_is_surely_more(numbers) or (not has_outlines and _is_perhaps_more(numbers))):
        raise DoubtfulLineError(f"{shown:.60} may be an outline, or a box and what follows it; {_ADVICE}")
    return outlined


def surveyed(lines: Iterable[str]) -> Survey:
    """Returns the common properties of many lines; lines of another form are skipped."""
    long_lines, boxes = [], []
    for line in lines:
        try:
            _, numbers = parse(line)
        except DatasetError:
            continue
        if len(numbers) == 4:
            boxes.append(numbers)
        elif len(numbers) >= 6 and len(numbers) % 2 == 0:
            long_lines.append(numbers)
    counts = Counter(map(len, long_lines))
    doubtful = sum(_is_perhaps_more(numbers) for numbers in long_lines)
    # Keypoints and trackers give lines of equal length; outlines rarely do, except for those with four corners.
    has_outlines = len(counts) > 2 or doubtful < _MOSTLY * len(long_lines)
    outside = sum(not _is_box(numbers, tolerance=0.05) for numbers in boxes)
    is_ordered = all(x1 > x0 and y1 > y0 for x0, y0, x1, y1 in boxes)
    return Survey(has_outlines, len(boxes) > 2 and is_ordered and outside > _FEW_CORNERS * len(boxes))


def _is_box(numbers: Numbers, tolerance: float = _TOLERANCE) -> bool:
    """Returns whether the first four numbers are center and size of a box within the image."""
    x, y, width, height = numbers[:4]
    low, high = -tolerance, 1 + tolerance
    return (
        min(width, height) > 0
        and min(x - width / 2, y - height / 2) >= low
        and max(x + width / 2, y + height / 2) <= high
    )


def _is_surely_more(numbers: Numbers) -> bool:
    """Returns whether the numbers after a box cannot be part of an outline, such as visibilities."""
    if _is_closed(numbers) or _is_parallelogram(numbers):
        return False
    if not all(-_FARTHEST_OUTLINE <= number <= 1 + _FARTHEST_OUTLINE for number in numbers):
        return True
    if not _is_box(numbers):
        return False
    rest = numbers[4:]
    return len(rest) % 3 == 0 and all(number in (0, 1, 2) for number in rest[2::3])


def _is_perhaps_more(numbers: Numbers) -> bool:
    """Returns whether an outline could also be a box with points in it, or with a confidence and another number."""
    if not _is_box(numbers) or _is_closed(numbers) or _is_parallelogram(numbers):
        return False
    if len(numbers) == 6:
        return True
    x, y, width, height = numbers[:4]
    points = zip(numbers[4::2], numbers[5::2], strict=True)
    return all(
        (abs(across - x) <= width / 2 + _TOLERANCE and abs(down - y) <= height / 2 + _TOLERANCE)
        or (across, down) == (0, 0)  # An invisible keypoint.
        for across, down in points
    )


def _is_closed(numbers: Numbers) -> bool:
    """Returns whether the last point of an outline is the first one."""
    return len(numbers) >= 8 and numbers[:2] == numbers[-2:]


def _is_parallelogram(numbers: Numbers) -> bool:
    """Returns whether eight numbers are the corners of an oriented box, which normalization may shear."""
    if len(numbers) != 8:
        return False
    sides = [numbers[i] - numbers[i + 2] + numbers[i + 4] - numbers[i + 6] for i in (0, 1)]
    return max(map(abs, sides)) <= _TOLERANCE
