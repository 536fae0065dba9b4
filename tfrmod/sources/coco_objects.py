"""What a COCO file says of one photo, read again from its places in the file."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfrmod import masks as mask_pictures
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources.json_pieces import parsed
from tfrmod.sources.places import Place, packed, read_places, unpacked
from tfrmod.sources.source import Entry, Reading


class Categories(NamedTuple):
    """The classes of one file."""

    names: dict[str, str] = {}  # noqa: RUF012 - never written to
    """{id, as text: name}."""
    place: Place = Place(0, 0)
    """From the first byte of the first category to the last of the last."""
    problems: tuple[str, ...] = ()


def identity(value: Any) -> str | None:
    """Returns an id as text, whether it is written as a number or a word; None where it is neither."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip() or None


def read_categories(elements: Sequence[tuple[Any, Place]]) -> Categories:
    """Returns the classes that a file's list of categories names.

    Args:
      elements: of the list, with their places.
    """
    names: dict[str, str] = {}
    problems = []
    for value, place in elements:
        category_id = identity(value.get("id")) if isinstance(value, dict) else None
        name = value.get("name") if isinstance(value, dict) else None
        if category_id is None or not isinstance(name, str) or not name.split():
            problems.append(f"a category without an id and a name, at byte {place.start}")
        elif names.setdefault(category_id, " ".join(name.split())) != " ".join(name.split()):
            problems.append(f"the id {category_id} is given to {names[category_id]!r} and to {name!r}")
    if not elements:
        return Categories()
    first, last = elements[0][1], elements[-1][1]
    return Categories(names, Place(first.start, last.start + last.num_bytes - first.start), tuple(problems))


def detail(categories: Categories, image: Place, objects: bytes, *, is_id_unique: bool) -> bytes:
    """Returns what `read` must know of one photo, for `Entry.detail`.

    Args:
      categories: of the file.
      image: place of the photo's own element.
      objects: packed places of its annotations.
      is_id_unique: no other file of the data set gives the id to another photo.
    """
    return bytes([is_id_unique]) + packed([categories.place, image]) + objects


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns what a COCO file says of one photo; boxes as they are written, not yet checked."""
    path = folder / entry.annotation
    try:
        categories_place, *places = unpacked(entry.detail[1:])
        names = _category_names(path, categories_place, path.stat().st_mtime_ns)
        image, *annotations = map(parsed, read_places(path, places))
        if not isinstance(image, dict):
            raise DatasetError("the photo is not where it was listed")
    except (DatasetError, OSError) as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, f"{error}; did the file change?"),))
    height, width = _pixels(image.get("height")), _pixels(image.get("width"))
    objects, problems = [], []
    for annotation in annotations:
        try:
            thing = _object(annotation, names)
        except DatasetError as error:
            problems.append(Problem("object_unreadable", entry.image, str(error)))
            continue
        if masks:
            try:
                thing = thing._replace(mask=_mask(annotation, height, width))
            except DatasetError as error:
                problems.append(Problem("mask_unreadable", entry.image, f"{thing.name}: {error}"))
        objects.append(thing)
    source_id = identity(image.get("id")) if entry.detail[0] else None
    claim = AnnotatedImage(
        filename=entry.image,
        objects=tuple(objects),
        height=height,
        width=width,
        path=folder / entry.image,
        source_id=source_id or "",
    )
    return Reading(claim, tuple(problems))


@functools.lru_cache(maxsize=16)
def _category_names(path: Path, place: Place, changed: int) -> dict[str, str]:
    """Returns {id: name} of a file; read once in each process and for each change."""
    (data,) = read_places(path, [place])
    values = parsed(b"[" + data + b"]")
    return read_categories([(value, place) for value in values]).names


def _object(value: Any, names: dict[str, str]) -> AnnotatedObject:
    if not isinstance(value, dict):
        raise DatasetError("an annotation that is no object")
    category = identity(value.get("category_id"))
    if category is None or category not in names:
        raise DatasetError(f"category_id {value.get('category_id')!r} is not among the categories")
    sides = value.get("bbox")
    if not isinstance(sides, list) or len(sides) != 4 or not all(map(_is_number, sides)):
        raise DatasetError(f"{names[category]}: bbox is four numbers (x, y, width, height); this is {sides!s:.60}")
    left, top, width, height = map(float, sides)
    box: Box = (top, left, top + height, left + width)
    area: Any = value.get("area")
    return AnnotatedObject(
        names[category],
        box,
        is_crowd=value.get("iscrowd") in (1, True),
        mask_area=float(area) if _is_number(area) and area > 0 else None,
    )


def _mask(value: dict[str, Any], height: int, width: int) -> bytes:
    """Returns the drawn outline, nothing where the annotation has none.

    Raises:
      DatasetError: there is one, and it cannot be drawn.
    """
    outline = value.get("segmentation")
    if not outline:
        return b""
    if isinstance(outline, dict):
        size = outline.get("size")
        if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
            raise DatasetError(f"run lengths without the size of their picture: {size!s:.60}")
        return mask_pictures.rle_png(outline.get("counts"), *size)
    if not isinstance(outline, list) or not all(isinstance(polygon, list) for polygon in outline):
        raise DatasetError(f"an outline is a list of polygons or run lengths; this is {outline!s:.60}")
    return mask_pictures.polygons_png(outline, height, width)


def _is_number(value: Any) -> bool:
    """Returns whether a value is a number that a box can have; whole numbers may be too large for a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _pixels(value: Any) -> int:
    """Returns a side of the photo, 0 where the file is silent or talks nonsense."""
    return int(value) if _is_number(value) and value > 0 else 0
