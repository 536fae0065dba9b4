"""LabelMe: a JSON file for each image, with rectangles, polygons and circles.

{"shapes": [{"label", "points", "shape_type", "group_id"}], "imagePath",
"imageHeight", "imageWidth"}; imageData, a copy of the image, is not read.
"""

import math
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.problems import Problem
from tfrmod.sources import drawn
from tfrmod.sources.drawn import Drawn, Shape
from tfrmod.sources.files import Files, Names, list_files
from tfrmod.sources.json_stream import parsed
from tfrmod.sources.recognition import json_files
from tfrmod.sources.source import Entry, Listing, Reading
from tfrmod.sources.split_names import in_order, set_name_of_folders

_MAX_BYTES = 256 << 20
_NO_AREA = {"point", "points", "line", "linestrip"}


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether any JSON file is LabelMe's."""
    return bool(json_files(folder, files, "labelme"))


def listing(folder: Path) -> Listing:
    """Returns the images of LabelMe's files; folders named train, val and test are sets.

    Raises:
      DatasetError: there is no such file, or none has a usable image.
    """
    files = list_files(folder)
    paths = json_files(folder, files, "labelme")
    if not paths:
        raise DatasetError(
            f"Expected LabelMe's JSON files in {folder}, an object with shapes and imagePath for each image, and found "
            f"none among {len(files.json)} JSON files."
        )
    names = Names([*files.images, *files.others])
    annotations: dict[str, list[str]] = defaultdict(list)
    problems: list[Problem] = []
    for path in paths:
        try:
            image = _image_of(path, _content(folder / path), names)
        except DatasetError as error:
            problems.append(Problem("annotation_malformed", path, str(error)))
        except _NoImageError as error:
            problems.append(Problem(error.code, path, str(error)))
        else:
            annotations[image].append(path)
    for image, rivals in annotations.items():
        if len(rivals) > 1:
            problems.append(Problem("annotations_disagree", image, ", ".join(rivals[:5])))
    entries = {image: Entry(image, rivals[0]) for image, rivals in annotations.items() if len(rivals) == 1}
    if not entries:
        example = f"For example {problems[0].file}: {problems[0].message}." if problems else ""
        raise DatasetError(
            f"Of {counted(len(paths), 'LabelMe file')} and {counted(len(files.images), 'image')} in {folder}, none "
            f"belong together. {example}".rstrip()
        )
    problems += [Problem("image_without_annotation", image) for image in files.images if image not in annotations]
    ordered, sets = in_order(entries, ((set_name_of_folders(image), image) for image in entries))
    return Listing(entries=ordered, problems=tuple(problems), sets=sets if len(sets) > 1 else {})


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the annotation of one image; boxes as stated, not yet checked."""
    try:
        content = _content(folder / entry.annotation)
    except DatasetError as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    shapes, unreadable = _shapes(content)
    height, width = drawn.pixels(content.get("imageHeight")), drawn.pixels(content.get("imageWidth"))
    found = Drawn(entry.image, tuple(shapes), tuple(unreadable), height, width)
    return drawn.reading_of(folder, entry, found, masks=masks)


class _NoImageError(Exception):
    """The image of a file does not exist, or is ambiguous; `code` tells which."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _image_of(path: str, content: dict[str, Any], names: Names) -> str:
    """Returns the image of a file: the one it names, or if that does not exist the one with the file's name."""
    stated = content.get("imagePath")
    named = names.find(stated, near=path) if isinstance(stated, str) and stated.strip() else []
    stem = PurePosixPath(path).stem
    beside = [image for image in names.find(stem, near=path) if PurePosixPath(image).stem == stem]
    if len(named) == 1 and (len(beside) != 1 or beside == named):
        return named[0]
    if not named and len(beside) == 1:
        return beside[0]
    if named or beside:
        fitting = ", ".join(dict.fromkeys([*named, *beside]))
        raise _NoImageError("image_ambiguous", f"names {stated}; fits {fitting}")
    message = f"names {stated!s:.100}"
    if content.get("imageData"):
        message += "; the file holds a copy of the image, which labelme_export_json FILE writes out"
    raise _NoImageError("annotation_without_image", message)


def _content(path: Path) -> dict[str, Any]:
    """Returns the content of one file.

    Raises:
      DatasetError: it is not a LabelMe file.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DatasetError(f"it has more than {_MAX_BYTES >> 20} MiB")
        content = parsed(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise DatasetError(f"it cannot be opened: {error.strerror}") from error
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DatasetError("it has no list called shapes")
    return content


def _shapes(content: dict[str, Any]) -> tuple[list[Shape], list[str]]:
    """Returns the shapes; polygons with equal label and group are joined, as in LabelMe's converter to COCO."""
    shapes: list[Shape] = []
    groups: dict[tuple[str, str], int] = {}
    unreadable = []
    for value in content["shapes"]:
        try:
            found, group = _shape(value)
        except DatasetError as error:
            label = value.get("label") if isinstance(value, dict) else None
            unreadable.append(f"{label!s:.60}: {error}")
            continue
        position = groups.setdefault((found.label, group), len(shapes)) if group else len(shapes)
        if position < len(shapes):
            shapes[position] = _joined(shapes[position], found)
        else:
            shapes.append(found)
    return shapes, unreadable


def _shape(value: Any) -> tuple[Shape, str]:
    """Returns one shape, and the group of a polygon: polygons of a group are parts of a partly hidden object."""
    if not isinstance(value, dict):
        raise DatasetError("a shape that is not an object")
    kind, label = value.get("shape_type") or "polygon", value.get("label")
    if kind in _NO_AREA:
        raise DatasetError(f"a {kind}, which has no area")
    points = [_point(point) for point in value["points"]] if isinstance(value.get("points"), list) else []
    if kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        return drawn.shape(label, drawn.ellipse_box(points[0], (radius, radius))), ""
    if kind in ("rectangle", "mask") and len(points) in (2, 4):
        return drawn.shape(label, drawn.bounds(points)), ""
    if kind in ("polygon", "rotation"):
        group = value.get("group_id")
        return drawn.shape(label, *drawn.outline(points)), str(group) if group is not None and kind == "polygon" else ""
    raise DatasetError(f"a shape of the type {kind!s:.40} with {len(points)} points")


def _joined(one: Shape, other: Shape) -> Shape:
    (top, left, bottom, right), (y0, x0, y1, x1) = one.box, other.box
    box = (min(top, y0), min(left, x0), max(bottom, y1), max(right, x1))
    return Shape(one.label, box, one.polygons + other.polygons)


def _point(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise DatasetError(f"a point that is not a pair of numbers: {value!s:.60}")
    return drawn.number(value[0]), drawn.number(value[1])
