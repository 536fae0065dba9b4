"""Objects of one image of a COCO file, read from their positions in the file."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfrmod import masks as mask_pictures
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.errors import DatasetError
from tfrmod.problems import Problem
from tfrmod.sources.coordinates import canvas_size, unit_of
from tfrmod.sources.json_stream import Place, packed, parsed, read_places, unpacked
from tfrmod.sources.source import Entry, Reading
from tfrmod.stated_size import is_near
from tfrmod.text import clean_name

_LARGEST_FRACTION = 1.5
_CROWD_WORDS = {
    "1": True, "1.0": True, "true": True, "yes": True,
    "0": False, "0.0": False, "false": False, "no": False, "none": False, "": False,
}  # fmt: skip


class Categories(NamedTuple):
    """The classes of one file."""

    names: dict[str, str] = {}  # noqa: RUF012 - never written to
    """{id, as text: name}."""
    place: Place = Place(0, 0)
    """From the first byte of the first category to the last byte of the last one."""
    problems: tuple[str, ...] = ()


def identity(value: Any) -> str | None:
    """Returns an id as text, if it is a number or a string; else None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip() or None


def read_categories(elements: Sequence[tuple[Any, Place]]) -> Categories:
    """Returns the classes in a file's list of categories.

    Args:
      elements: of the list, with their positions.
    """
    names: dict[str, str] = {}
    problems = []
    for value, place in elements:
        category_id = identity(value.get("id")) if isinstance(value, dict) else None
        name = value.get("name") if isinstance(value, dict) else None
        if category_id is None or not isinstance(name, str):
            problems.append(f"a category without an id and a name, at byte {place.start}")
            continue
        try:
            name = clean_name(name)
        except DatasetError as error:
            problems.append(f"the category at byte {place.start}: {error}")
            continue
        if names.setdefault(category_id, name) != name:
            problems.append(f"the id {category_id:.60} is given to {names[category_id]!r} and to {name!r}")
    if not elements:
        return Categories()
    first, last = elements[0][1], elements[-1][1]
    return Categories(names, Place(first.start, last.start + last.num_bytes - first.start), tuple(problems))


def detail(categories: Categories, image: Place, objects: bytes, *, is_id_unique: bool) -> bytes:
    """Returns the value of `Entry.detail` for one image, which `read` needs.

    Args:
      categories: of the file.
      image: position of the image's own element.
      objects: packed positions of its annotations.
      is_id_unique: whether no other file of the dataset has another image with this id.
    """
    return bytes([is_id_unique]) + packed([categories.place, image]) + objects


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the annotation of one image; boxes as stated, not yet checked."""
    path = folder / entry.annotation
    try:
        categories_place, *places = unpacked(entry.detail[1:])
        names = _category_names(path, categories_place, path.stat().st_mtime_ns)
        image, *annotations = map(parsed, read_places(path, places))
        if not isinstance(image, dict):
            raise DatasetError("the image is not where it was listed")
    except (DatasetError, OSError) as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, f"{error}; did the file change?"),))
    size = _pixels(image.get("height")), _pixels(image.get("width"))
    objects, outlined, problems = [], [], []
    for annotation in annotations:
        try:
            obj, note = _object(annotation, names)
        except DatasetError as error:
            problems.append(Problem("object_unreadable", entry.image, str(error)))
            continue
        if note:
            problems.append(Problem("box_from_outline", entry.image, note))
        objects.append(obj)
        outlined.append(annotation)
    boxes = [obj.box for obj in objects]
    unit = unit_of(boxes)
    if unit == "fractions" or (unit == "unclear" and all(max(box) <= _LARGEST_FRACTION for box in boxes)):
        message = f"bbox is x, y, width and height in pixels; those of {entry.image} are between 0 and 1"
        return Reading(None, (*problems, Problem("coordinates_unclear", entry.annotation, message)))
    if masks:
        objects, unreadable = _with_masks(objects, outlined, folder / entry.image, size)
        problems += [Problem("mask_unreadable", entry.image, message) for message in unreadable]
    source_id = identity(image.get("id")) if entry.detail[0] else None
    claim = AnnotatedImage(
        filename=entry.image,
        objects=tuple(objects),
        height=size[0],
        width=size[1],
        path=folder / entry.image,
        source_id=source_id or "",
    )
    return Reading(claim, tuple(problems))


@functools.lru_cache(maxsize=16)
def _category_names(path: Path, place: Place, changed: int) -> dict[str, str]:
    """Returns {id: name} of a file; cached in each process until the file changes."""
    (data,) = read_places(path, [place])
    values = parsed(b"[" + data + b"]")
    return read_categories([(value, place) for value in values]).names


def _object(value: Any, names: dict[str, str]) -> tuple[AnnotatedObject, str]:
    """Returns one object, and a note if its box is that of its outline."""
    if not isinstance(value, dict):
        raise DatasetError("an annotation that is not an object")
    category = identity(value.get("category_id"))
    if category is None or category not in names:
        raise DatasetError(f"category_id {value.get('category_id')!r:.60} is not among the categories")
    name, note = names[category], ""
    sides, outline = value.get("bbox"), value.get("segmentation")
    if not sides and outline:
        try:
            box, note = _outline_box(outline), name
        except DatasetError as error:
            raise DatasetError(f"{name}: no bbox, and a segmentation without one: {error}") from error
    else:
        if not isinstance(sides, list) or len(sides) != 4 or not all(map(_is_number, sides)):
            raise DatasetError(f"{name}: bbox is four numbers (x, y, width, height); this is {sides!s:.60}")
        left, top, width, height = map(float, sides)
        box = (top, left, top + height, left + width)
    area: Any = value.get("area")
    obj = AnnotatedObject(
        name,
        box,
        is_crowd=_is_crowd(value.get("iscrowd")),
        mask_area=float(area) if _is_number(area) and area > 0 else None,
    )
    return obj, note


def _is_crowd(value: Any) -> bool:
    """Returns the value of iscrowd, in any notation.

    Raises:
      DatasetError: it is neither true nor false.
    """
    word = str(value).strip().lower()
    if word not in _CROWD_WORDS:
        raise DatasetError(f"iscrowd is 0 or 1; this is {value!s:.60}")
    return _CROWD_WORDS[word]


def _outline_box(outline: Any) -> Box:
    """Returns the bounding box of polygons or run lengths.

    Raises:
      DatasetError: they are malformed.
    """
    if isinstance(outline, dict):
        return mask_pictures.rle_box(outline.get("counts"), *_rle_size(outline))
    polygons = _polygons(outline)
    if not all(len(polygon) >= 6 and len(polygon) % 2 == 0 and all(map(_is_number, polygon)) for polygon in polygons):
        raise DatasetError(f"a polygon needs at least three points, an x and a y each; received {outline!s:.60}")
    across = [float(x) for polygon in polygons for x in polygon[0::2]]
    down = [float(y) for polygon in polygons for y in polygon[1::2]]
    return min(down), min(across), max(down), max(across)


def _with_masks(
    objects: Sequence[AnnotatedObject], annotations: Sequence[dict[str, Any]], path: Path, stated: tuple[int, int]
) -> tuple[list[AnnotatedObject], list[str]]:
    """Returns the objects with their masks, and why some have none.

    Args:
      objects: of one image.
      annotations: of the objects.
      path: of the image.
      stated: (height, width) of the image in the file.
    """
    unreadable = []
    try:
        size = canvas_size(path, stated, [obj.box for obj in objects])
    except DatasetError as error:
        return list(objects), [str(error)]
    if 0 in size:
        return list(objects), []
    drawn = []
    for obj, annotation in zip(objects, annotations, strict=True):
        try:
            drawn.append(obj._replace(mask=_mask(annotation, size)))
        except DatasetError as error:
            unreadable.append(f"{obj.name}: {error}")
            drawn.append(obj)
    return drawn, unreadable


def _mask(value: dict[str, Any], size: tuple[int, int]) -> bytes:
    """Returns the mask of the outline, empty if the annotation has none.

    Raises:
      DatasetError: it cannot be rasterized, or belongs to another image.
    """
    outline = value.get("segmentation")
    if not outline:
        return b""
    if isinstance(outline, dict):
        height, width = _rle_size(outline)
        if not is_near((height, width), size):
            raise DatasetError(f"run lengths for {width}x{height} pixels, and the image has {size[1]}x{size[0]}")
        return mask_pictures.rle_png(outline.get("counts"), height, width)
    return mask_pictures.polygons_png(_polygons(outline), *size)


def _rle_size(outline: dict[str, Any]) -> tuple[int, int]:
    size = outline.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        raise DatasetError(f"run lengths without the size of their image: {size!s:.60}")
    return size[0], size[1]


def _polygons(outline: Any) -> list[list[Any]]:
    if not isinstance(outline, list) or not all(isinstance(polygon, list) for polygon in outline):
        raise DatasetError(f"an outline is a list of polygons or run lengths; this is {outline!s:.60}")
    return outline


def _is_number(value: Any) -> bool:
    """Returns whether a value is a valid coordinate; integers may be too large for a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _pixels(value: Any) -> int:
    """Returns a side of the image, 0 if the file has no valid value."""
    return int(value) if _is_number(value) and value > 0 else 0
