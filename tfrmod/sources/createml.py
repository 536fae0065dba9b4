"""CreateML: JSON files with a list of images, each with labels and boxes.

[{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x", "y",
"width", "height"}}]}], where x and y are the center of the box, in pixels.
"""

from pathlib import Path
from typing import Any

from tfrmod.errors import DatasetError
from tfrmod.problems import Problem
from tfrmod.sources import drawn
from tfrmod.sources.drawn import Drawn, Shape
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.json_stream import elements
from tfrmod.sources.recognition import json_files
from tfrmod.sources.source import Listing

_IMAGE_KEYS = ("image", "imagefilename", "filename")

read = drawn.read


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether any JSON file is CreateML's."""
    return bool(json_files(folder, files, "createml"))


def listing(folder: Path) -> Listing:
    """Returns the images in CreateML's files; several files are several sets if their paths name sets.

    Raises:
      DatasetError: there is no such file, or none has a usable image.
    """
    files = list_files(folder)
    paths = json_files(folder, files, "createml")
    if not paths:
        raise DatasetError(
            f"Expected CreateML's JSON in {folder}, a list of images with annotations of a label and coordinates, and "
            f"found none among {len(files.json)} JSON files."
        )
    by_file: dict[str, list[Drawn]] = {}
    problems: list[Problem] = []
    for path in paths:
        images: list[Drawn] = []
        try:
            for piece in elements(folder / path):
                one = _image(piece.value)
                if one is None:
                    message = f"an element without an image and annotations, at byte {piece.start}"
                    problems.append(Problem("line_unreadable", path, message))
                    continue
                images.append(one)
        except (DatasetError, OSError) as error:
            problems.append(Problem("annotation_malformed", path, str(error)))
            continue
        by_file[path] = images
    return drawn.listing_of(folder, files, by_file, problems)


def _image(value: Any) -> Drawn | None:
    if not isinstance(value, dict):
        return None
    name = next((value[key] for key in _IMAGE_KEYS if isinstance(value.get(key), str)), "").strip()
    annotations = value.get("annotations", value.get("annotation"))
    if not name or not isinstance(annotations, list):
        return None
    shapes, unreadable = [], []
    for annotation in annotations:
        try:
            shapes.append(_shape(annotation))
        except DatasetError as error:
            label = annotation.get("label") if isinstance(annotation, dict) else None
            unreadable.append(f"{label!s:.60}: {error}")
    return Drawn(name, tuple(shapes), tuple(unreadable))


def _shape(value: Any) -> Shape:
    coordinates = value.get("coordinates") if isinstance(value, dict) else None
    if not isinstance(coordinates, dict):
        raise DatasetError("an annotation without coordinates")
    x, y, width, height = (drawn.number(coordinates.get(key)) for key in ("x", "y", "width", "height"))
    return drawn.shape(value.get("label"), (y - height / 2, x - width / 2, y + height / 2, x + width / 2))
