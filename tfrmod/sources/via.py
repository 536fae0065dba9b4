"""VIA (VGG Image Annotator), versions 1 and 2: a project, or its annotations as JSON or CSV.

Each image has regions with a shape (region_shape_attributes) and free
attributes (region_attributes), of which one is the class.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tfrmod.annotated_image import Box
from tfrmod.errors import DatasetError
from tfrmod.problems import Problem
from tfrmod.sources import drawn
from tfrmod.sources.drawn import Drawn, Shape
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.json_stream import parsed, pieces
from tfrmod.sources.recognition import json_files
from tfrmod.sources.source import Listing
from tfrmod.text import read_text

_CLASS_WORDS = {"class", "classname", "label", "labelname", "category", "object", "objectclass"}
_CSV_HEADER = {"filename", "region_shape_attributes", "region_attributes"}
_MAX_CELL = 1 << 24

read = drawn.read


class _Image(NamedTuple):
    """One image of a VIA file."""

    name: str
    regions: list[Any]


class _File(NamedTuple):
    """One file; the options describe attributes whose values are indices into a list."""

    path: str
    images: list[_Image]
    options: dict[str, dict[str, str]]
    """{attribute: {value: description}}."""


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether any JSON or CSV file is VIA's."""
    return bool(json_files(folder, files, "via")) or any(_is_csv(folder / path) for path in files.csv)


def listing(folder: Path) -> Listing:
    """Returns the images of VIA's files; CSV is read if there is no JSON.

    Raises:
      DatasetError: there is no such file, none has a usable image, or several
        attributes may be the class.
    """
    files = list_files(folder)
    paths = json_files(folder, files, "via")
    tables = [] if paths else [path for path in files.csv if _is_csv(folder / path)]
    if not paths and not tables:
        raise DatasetError(
            f"Expected a project or annotations of VIA in {folder}, JSON or CSV with regions and their attributes, and "
            f"found none among {len(files.json)} JSON and {len(files.csv)} CSV files."
        )
    found: list[_File] = []
    problems: list[Problem] = []
    for path in (*paths, *tables):
        try:
            found.append(_read_json(folder, path) if paths else _read_csv(folder, path, problems))
        except (DatasetError, OSError) as error:
            problems.append(Problem("annotation_malformed", path, str(error)))
    attribute, others = _class_attribute(found)
    if others:
        message = f"{', '.join(others)}; the class is {attribute}"
        problems.append(Problem("attributes_left_out", found[0].path, message))
    by_file = {file.path: [_drawn(image, attribute, file.options) for image in file.images] for file in found}
    return drawn.listing_of(folder, files, by_file, problems)


def _is_csv(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.readline(1 << 16)
    except OSError:
        return False
    return b"region_shape_attributes" in head and b"region_attributes" in head


def _read_json(folder: Path, path: str) -> _File:
    images: list[_Image] = []
    options: dict[str, dict[str, str]] = {}
    for piece in pieces(folder / path):
        if piece.key == "_via_img_metadata" and isinstance(piece.value, dict):
            images += map(_image, piece.value.values())
        elif piece.key == "_via_attributes" and isinstance(piece.value, dict):
            options = _options(piece.value.get("region"))
        elif not piece.key.startswith("_via"):
            images.append(_image(piece.value))
    return _File(path, images, options)


def _image(value: Any) -> _Image:
    name = value.get("filename") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise DatasetError("an image without a filename")
    regions = value.get("regions")
    # Lists in VIA 1 are objects with numbered keys: {"0": {…}, "1": {…}}.
    regions = list(regions.values()) if isinstance(regions, dict) else regions
    return _Image(name.strip(), regions if isinstance(regions, list) else [])


def _read_csv(folder: Path, path: str, problems: list[Problem]) -> _File:
    decoded = read_text(folder / path)
    if decoded.is_guessed:
        problems.append(Problem("encoding_guessed", path, f"read as {decoded.encoding}"))
    table = csv.DictReader(io.StringIO(decoded.text.lstrip("#"), newline=""))
    if not set(table.fieldnames or ()) >= _CSV_HEADER:
        raise DatasetError(f"its header lacks {', '.join(sorted(_CSV_HEADER - set(table.fieldnames or ())))}")
    regions: dict[str, list[Any]] = defaultdict(list)
    usual_limit = csv.field_size_limit(_MAX_CELL)  # A global setting; a polygon may have thousands of points.
    try:
        for row in table:
            name = (row["filename"] or "").strip()
            shape, attributes = (_cell(row[key]) for key in ("region_shape_attributes", "region_attributes"))
            images = regions[name]
            if shape != {}:
                images.append({"shape_attributes": shape, "region_attributes": attributes})
    except csv.Error as error:
        raise DatasetError(f"it is not CSV: {error}") from error
    finally:
        csv.field_size_limit(usual_limit)
    return _File(path, [_Image(name, found) for name, found in regions.items()], {})


def _cell(text: str | None) -> Any:
    """Returns the JSON in a cell, None if there is none."""
    try:
        return parsed((text or "").encode("utf-8", "replace"))
    except DatasetError:
        return None


def _options(attributes: Any) -> dict[str, dict[str, str]]:
    """Returns the descriptions of options with numeric keys."""
    found = {}
    for name, attribute in attributes.items() if isinstance(attributes, dict) else ():
        options = attribute.get("options") if isinstance(attribute, dict) else None
        if isinstance(options, dict) and options and all(key.isdigit() for key in options):
            described = {key: text for key, text in options.items() if isinstance(text, str) and text.strip()}
            if len(described) == len(options):
                found[name] = described
    return found


def _class_attribute(files: Iterable[_File]) -> tuple[str, list[str]]:
    """Returns the attribute that is the class, and the others.

    Raises:
      DatasetError: no region has an attribute, or the class is ambiguous.
    """
    met = Counter(name for file in files for image in file.images for name, _ in _filled(image.regions))
    if not met:
        raise DatasetError(
            "No region in VIA's files has an attribute with a value, so that none has a class. In VIA, add a region "
            "attribute such as class, and give each region a value."
        )
    names = list(met)
    of_words = [name for name in names if "".join(filter(str.isalnum, name)).lower() in _CLASS_WORDS]
    if len(names) > 1 and len(of_words) != 1:
        raise DatasetError(
            f"The regions in VIA's files have the attributes {', '.join(sorted(names)[:10])}, and it cannot be "
            "determined which is the class. Rename that one to class in VIA (or in the file), or delete the others."
        )
    chosen = of_words[0] if of_words else names[0]
    return chosen, sorted(name for name in names if name != chosen)


def _filled(regions: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for region in regions:
        attributes = region.get("region_attributes") if isinstance(region, dict) else None
        if isinstance(attributes, dict):
            yield from ((name, value) for name, value in attributes.items() if value not in ("", {}, None))


def _drawn(image: _Image, attribute: str, options: dict[str, dict[str, str]]) -> Drawn:
    shapes, unreadable = [], []
    for region in image.regions:
        try:
            shapes.append(_shape(region, attribute, options.get(attribute, {})))
        except DatasetError as error:
            unreadable.append(str(error))
    return Drawn(image.name, tuple(shapes), tuple(unreadable))


def _shape(region: Any, attribute: str, options: dict[str, str]) -> Shape:
    if not isinstance(region, dict) or not isinstance(region.get("shape_attributes"), dict):
        raise DatasetError("a region without a shape")
    attributes = region.get("region_attributes")
    label = _label(attributes.get(attribute) if isinstance(attributes, dict) else None, attribute)
    return drawn.shape(options.get(label, label), *_outline(region["shape_attributes"]))


def _label(value: Any, attribute: str) -> str:
    if isinstance(value, dict):  # Checkboxes.
        ticked = [name for name, is_ticked in value.items() if is_ticked in (True, "true", 1)]
        if len(ticked) != 1:
            raise DatasetError(f"{len(ticked)} values of {attribute} are ticked, where one is the class")
        return ticked[0]
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise DatasetError(f"a region without a value of {attribute}")
    return str(value)


def _outline(shape: dict[str, Any]) -> tuple[Box, list[list[float]]]:
    kind = shape.get("name")

    def numbers(*names: str) -> list[float]:
        return [drawn.number(shape.get(name)) for name in names]

    if kind == "rect":
        x, y, width, height = numbers("x", "y", "width", "height")
        return (y, x, y + height, x + width), []
    if kind == "circle":
        x, y, radius = numbers("cx", "cy", "r")
        return drawn.ellipse_box((x, y), (radius, radius)), []
    if kind == "ellipse":
        x, y, across, down = numbers("cx", "cy", "rx", "ry")
        return drawn.ellipse_box((x, y), (across, down), drawn.number(shape.get("theta") or 0)), []
    if kind == "polygon":
        all_x, all_y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(all_x, list) or not isinstance(all_y, list) or len(all_x) != len(all_y):
            raise DatasetError("a polygon whose x and y are not lists of equal length")
        return drawn.outline([(drawn.number(x), drawn.number(y)) for x, y in zip(all_x, all_y, strict=True)])
    raise DatasetError(f"a {kind!s:.40}, which has no area" if kind else "a region without a shape")
