"""Shapes of annotation tools (rectangles, polygons, ellipses): bounding boxes, masks, and listings.

Several formats have all images of a task in one file. Their modules parse that
file into `Drawn` values; matching them with images, and reading them later, is
the same for all formats and is implemented here.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.masks import polygons_png
from tfrmod.pairing import images_of
from tfrmod.problems import MAX_SAME_PROBLEMS, Problem
from tfrmod.sources.coordinates import canvas_size, unit_of, upright_size
from tfrmod.sources.files import Files, Names
from tfrmod.sources.source import Entry, Listing, Reading
from tfrmod.sources.split_names import in_order, set_of_path
from tfrmod.text import clean_name

RADIANS = math.pi / 180
_MAX_MESSAGE = 300
_LARGEST = 1e9


class Shape(NamedTuple):
    """One drawn object."""

    label: str
    box: Box
    """(y0, x0, y1, x1) in pixels."""
    polygons: tuple[tuple[float, ...], ...] = ()
    """Each (x, y, x, y, …), if the tool drew an outline; they become the mask."""


class Drawn(NamedTuple):
    """Annotation of one image in one file."""

    name: str
    """Name of the image in the file."""
    shapes: tuple[Shape, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Faults of the objects that cannot be read."""
    height: int = 0
    width: int = 0
    set_name: str | None = None
    """train, val or test, if the file states it."""


def shape(label: Any, box: Box, polygons: Iterable[Sequence[float]] = ()) -> Shape:
    """Returns a shape with a printable name.

    Raises:
      DatasetError: the label is not such a name.
    """
    if not isinstance(label, str):
        raise DatasetError(f"an object without a label: {label!r:.60}")
    return Shape(clean_name(label), box, tuple(map(tuple, polygons)))


def number(value: Any) -> float:
    """Returns a coordinate, given as a number or a string.

    Raises:
      DatasetError: it is not a number, or not valid in an image.
    """
    try:
        found = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not abs(found) < _LARGEST:
        raise DatasetError(f"a coordinate is missing or not a number: {value!s:.60}")
    return found


def pixels(value: Any) -> int:
    """Returns a side of an image, 0 if the file has no valid value."""
    try:
        return max(0, int(number(value)))
    except DatasetError:
        return 0


def bounds(points: Sequence[tuple[float, float]]) -> Box:
    """Returns the bounding box of some (x, y)."""
    across, down = [x for x, _ in points], [y for _, y in points]
    return min(down), min(across), max(down), max(across)


def outline(points: Sequence[tuple[float, float]]) -> tuple[Box, list[list[float]]]:
    """Returns the bounding box of a polygon, and the polygon in COCO's format.

    Raises:
      DatasetError: it has fewer than three points.
    """
    if len(points) < 3:
        raise DatasetError(f"a polygon of {len(points)} points, which needs at least three")
    return bounds(points), [[side for point in points for side in point]]


def ellipse_box(center: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> Box:
    """Returns the bounding box of an ellipse: center and radii are (x, y), the angle is in radians."""
    (x, y), (across, down) = center, radii
    half_width = math.hypot(across * math.cos(angle), down * math.sin(angle))
    half_height = math.hypot(across * math.sin(angle), down * math.cos(angle))
    return y - half_height, x - half_width, y + half_height, x + half_width


def turned(box: Box, degrees: float) -> list[tuple[float, float]]:
    """Returns the corners (x, y) of a box that was rotated clockwise around its center."""
    y0, x0, y1, x1 = box
    x, y, angle = (x0 + x1) / 2, (y0 + y1) / 2, degrees * RADIANS
    corners = [(x0 - x, y0 - y), (x1 - x, y0 - y), (x1 - x, y1 - y), (x0 - x, y1 - y)]
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in corners]


def listing_of(
    folder: Path, files: Files, by_file: Mapping[str, Sequence[Drawn]], problems: Sequence[Problem] = ()
) -> Listing:
    """Returns the images in annotation files, with the sets that the files or their names state.

    Args:
      folder: the dataset.
      files: of the dataset.
      by_file: {annotation file: annotations of its images}.
      problems: of reading the files.

    Raises:
      DatasetError: no image exists.
    """
    found = list(problems)
    names = Names([*files.images, *files.others])
    entries: dict[str, Entry] = {}
    members: list[tuple[str | None, str]] = []
    disagreed: set[str] = set()
    for path, drawn in by_file.items():
        for one, image, set_name in _paired(path, drawn, names, found):
            members.append((set_name, image))
            entry = Entry(image, path, _packed(one))
            first = entries.setdefault(image, entry)
            if first.detail != entry.detail:
                found.append(Problem("annotations_disagree", image, f"{first.annotation} and {path}"))
                disagreed.add(image)
            elif first is entry and not one.shapes and not one.unreadable:
                found.append(Problem("image_unlabelled", image, f"listed in {path} without an object"))
    for image in disagreed:
        del entries[image]
    if not entries:
        num_named = sum(map(len, by_file.values()))
        example = f"For example {found[0].file}: {found[0].message or found[0].code}." if found else ""
        raise DatasetError(
            f"Of {counted(num_named, 'image')} that the annotations in {folder} name, none can be used; there exist "
            f"{counted(len(files.images), 'image')}. {example}".rstrip()
        )
    unnamed = [image for image in files.images if image not in entries and image not in disagreed]
    found += [Problem("image_without_annotation", image) for image in unnamed]
    ordered, sets = in_order(entries, ((name, image) for name, image in members if image in entries))
    return Listing(entries=ordered, problems=tuple(found), sets=sets)


def _paired(
    path: str, drawn: Sequence[Drawn], names: Names, problems: list[Problem]
) -> Iterator[tuple[Drawn, str, str | None]]:
    """Yields the annotation of an image, the path of the image, and its set."""
    by_set: dict[str | None, list[Drawn]] = defaultdict(list)
    for one in drawn:
        by_set[one.set_name or set_of_path(path)].append(one)
    for set_name, group in by_set.items():
        stated = (one.name for one in group)
        images = images_of(stated, names, annotation=path, hint=set_name or "", problems=problems)
        yield from ((one, images[one.name], set_name) for one in group if one.name in images)


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the annotation of one image, which the listing has stored."""
    return reading_of(folder, entry, _unpacked(entry.detail), masks=masks)


def reading_of(folder: Path, entry: Entry, drawn: Drawn, *, masks: bool) -> Reading:
    """Returns an image with its shapes as objects; boxes as stated, not yet checked.

    Coordinates from 0 to 1 are fractions of the image, in any format.
    """
    problems = [Problem("object_unreadable", entry.image, message) for message in drawn.unreadable]
    shapes, size = drawn.shapes, (drawn.height, drawn.width)
    unit = unit_of(one.box for one in shapes)
    if unit == "unclear":
        message = "boxes that may be in pixels or in fractions of the image's sides"
        return Reading(None, (*problems, Problem("coordinates_unclear", entry.image, message)))
    if unit == "fractions":
        size = upright_size(folder / entry.image)
        shapes = tuple(_scaled(one, size) for one in shapes)
        message = f"0 to 1, read as fractions of {size[1]}x{size[0]} pixels"
        problems.append(Problem("coordinates_normalised", entry.image, message))
    objects = [AnnotatedObject(one.label, one.box) for one in shapes]
    if masks and any(one.polygons for one in shapes):
        try:
            canvas = canvas_size(folder / entry.image, size, [one.box for one in shapes])
        except DatasetError as error:
            problems.append(Problem("mask_unreadable", entry.image, str(error)))
            canvas = (0, 0)
        if 0 not in canvas:
            drawn_masks = [polygons_png(one.polygons, *canvas) if one.polygons else b"" for one in shapes]
            objects = [obj._replace(mask=mask) for obj, mask in zip(objects, drawn_masks, strict=True)]
    image = AnnotatedImage(
        filename=entry.image, objects=tuple(objects), height=size[0], width=size[1], path=folder / entry.image
    )
    return Reading(image, tuple(problems))


def _scaled(one: Shape, size: tuple[int, int]) -> Shape:
    height, width = size
    y0, x0, y1, x1 = one.box
    polygons = tuple(
        tuple(side * (height if place % 2 else width) for place, side in enumerate(polygon)) for polygon in one.polygons
    )
    return Shape(one.label, (y0 * height, x0 * width, y1 * height, x1 * width), polygons)


def _packed(drawn: Drawn) -> bytes:
    """Returns the value of `Entry.detail`, which `read` needs."""
    unreadable = [message[:_MAX_MESSAGE] for message in drawn.unreadable[:MAX_SAME_PROBLEMS]]
    if len(drawn.unreadable) > MAX_SAME_PROBLEMS:
        unreadable.append(f"and {len(drawn.unreadable) - MAX_SAME_PROBLEMS:,} more of this kind")
    content = [drawn.height, drawn.width, unreadable, drawn.shapes]
    return json.dumps(content, separators=(",", ":")).encode()


def _unpacked(detail: bytes) -> Drawn:
    height, width, unreadable, shapes = json.loads(detail)
    return Drawn(
        "",
        tuple(Shape(label, tuple(box), tuple(map(tuple, polygons))) for label, box, polygons in shapes),
        tuple(unreadable),
        height,
        width,
    )
