"""Pascal VOC: one XML per image, next to it or in a sibling folder, with the same name."""

import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lxml import etree

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.pairing import folded, spellings, stem_of
from tfrmod.problems import Problem
from tfrmod.sources import voc_layout, voc_xml
from tfrmod.sources.coordinates import unit_of, upright_size
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.recognition import is_other_xml, xml_kind
from tfrmod.sources.source import Entry, Listing, Reading
from tfrmod.sources.voc_xml import children, elements, text_of
from tfrmod.text import clean_name

# Alternatives to <bndbox> in tools with rotated boxes.
_TURNED = ("robndbox", "rotatedbox", "rbox", "obb", "rotated_bndbox")


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether the outermost tag of any XML is Pascal VOC's."""
    return any(xml_kind(folder / path) == "voc" for path in files.xml)


def listing(folder: Path) -> Listing:
    """Returns the images with an XML, and the files without a partner.

    Raises:
      DatasetError: there is no image, no XML, or no matching pair.
    """
    files = list_files(folder)
    others = sorted([*files.others, *files.json, *files.csv, *files.yaml])
    if not files.xml or not files.images + others:
        missing = "annotations (*.xml)" if not files.xml else "images"
        raise DatasetError(
            f"Expected images with Pascal VOC annotations in {folder}, and found no {missing} among {files.total} "
            "files. Does the archive contain another dataset, or archives?"
        )
    pairs, problems = voc_layout.pair(
        files.images,
        files.xml,
        others,
        stated=lambda annotation: voc_xml.stated_image(folder / annotation),
        is_copy=lambda one, other: _is_copy(folder / one, folder / other),
    )
    if not pairs:
        raise DatasetError(
            f"Of {counted(len(files.xml), 'XML file')} and {counted(len(files.images), 'image')} in {folder}, none "
            f"belong together for certain. {_reason(files, problems)}"
        )
    pictures, doubtful = voc_layout.mask_images_of(pairs, files.masks)
    entries = tuple(
        Entry(image, annotation, os.fsencode(pictures.get(image, ""))) for image, annotation in sorted(pairs.items())
    )
    problems = [
        problem
        for problem in problems
        if problem.code != "annotation_without_image" or not is_other_xml(folder / problem.file)
    ]
    return Listing(entries=entries, problems=(*problems, *doubtful))


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the annotation of one image; boxes in pixels, not yet checked against the image."""
    try:
        root, guessed = voc_xml.parse(folder / entry.annotation)
        objects, unreadable = _objects(root)
    except DatasetError as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    problems = [Problem("object_unreadable", entry.annotation, message) for message in unreadable]
    if guessed:
        problems.append(Problem("encoding_guessed", entry.annotation, f"read as {guessed}"))
    tags = children(root)
    stated = PurePosixPath(text_of(tags.get("filename")).replace("\\", "/")).name
    if stated and not _is_named(stated, entry.image):
        problems.append(Problem("filename_differs", entry.annotation, f"names {stated}"))
    size = children(tags["size"]) if "size" in tags else {}
    height, width = _pixels(size.get("height")), _pixels(size.get("width"))
    unit = unit_of(obj.box for obj in objects)
    if unit == "unclear":
        message = "boxes that may be in pixels or in fractions of the image's sides"
        return Reading(None, (*problems, Problem("coordinates_unclear", entry.annotation, message)))
    if unit == "fractions":
        height, width = _frame(folder / entry.image, (height, width))
        objects = [_scaled(obj, height, width) for obj in objects]
        message = f"0 to 1, read as fractions of {width}x{height} pixels"
        problems.append(Problem("coordinates_normalised", entry.annotation, message))
    image = AnnotatedImage(
        filename=entry.image, objects=tuple(objects), height=height, width=width, path=folder / entry.image
    )
    if masks and entry.detail:
        image, without_masks = voc_layout.with_masks(image, folder, os.fsdecode(entry.detail))
        problems += without_masks
    return Reading(image, tuple(problems))


def _reason(files: Files, problems: Sequence[Problem]) -> str:
    """Returns why the first XML has no image."""
    doubt = next((problem for problem in problems if problem.code == "image_ambiguous"), None)
    if doubt is not None:
        return (
            f"For example {doubt.file}: {doubt.message}. Correct the tag <filename>; if several images have "
            "that name, state the folder of the right one in <folder>, or delete the copies."
        )
    return (
        f"Neither their names nor their filename tags agree. The first XML is {files.xml[0]}, the first image "
        f"{files.images[0] if files.images else 'missing'}."
    )


def _is_copy(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _objects(root: etree._Element) -> tuple[list[AnnotatedObject], list[str]]:
    """Returns the objects, and the faults of those that cannot be read.

    Raises:
      DatasetError: an object has another shape than a box.
    """
    objects, unreadable = [], []
    for node in elements(root, "object"):
        obj = _object(node)
        if isinstance(obj, str):
            unreadable.append(obj)
        else:
            objects.append(obj)
    return objects, unreadable


def _object(node: etree._Element) -> AnnotatedObject | str:
    """Returns one object, or its fault. Its parts (<part>) are other objects and are not read."""
    tags = children(node)
    try:
        name = clean_name(text_of(tags.get("name"))) if text_of(tags.get("name")) else ""
    except DatasetError as error:
        return str(error)
    if not name:
        return "an object without a name"
    if "bndbox" not in tags:
        turned = next((tag for tag in _TURNED if tag in tags), None)
        if turned is not None:
            # The image is left out: without the object it would be trained as background.
            raise DatasetError(
                f"{name} is marked by <{turned}>, a rotated box, where <bndbox> is expected; export it as a box"
            )
        return f"{name}: no bndbox"
    corners = children(tags["bndbox"])
    try:
        box: Box = tuple(float(text_of(corners.get(key))) for key in ("ymin", "xmin", "ymax", "xmax"))  # type: ignore[assignment]
    except ValueError:
        return f"{name}: a coordinate is missing or not a number"
    if not all(map(math.isfinite, box)):
        return f"{name}: a coordinate is not finite"
    return AnnotatedObject(
        name,
        box,
        difficult=_is_set(tags.get("difficult")),
        truncated=_is_set(tags.get("truncated")),
        view=text_of(tags.get("pose")),
    )


def _is_named(stated: str, image: str) -> bool:
    """Returns whether a filename tag names an image, possibly without its extension (old labelImg)."""
    name = folded(PurePosixPath(image).name)
    return folded(stated) in (name, stem_of(name)) or folded(spellings(stated)[-1]) == name


def _frame(path: Path, stated: tuple[int, int]) -> tuple[int, int]:
    """Returns the (height, width) to which fractions refer: as stated if the image has these sides."""
    actual = upright_size(path)
    return stated if sorted(stated) == sorted(actual) or 0 in actual else actual


def _scaled(obj: AnnotatedObject, height: int, width: int) -> AnnotatedObject:
    y0, x0, y1, x1 = obj.box
    return obj._replace(box=(y0 * height, x0 * width, y1 * height, x1 * width))


def _pixels(node: etree._Element | None) -> int:
    """Returns a side of the image, 0 if the XML has no valid value."""
    try:
        return max(0, int(float(text_of(node))))
    except (ValueError, OverflowError):
        return 0


def _is_set(node: etree._Element | None) -> bool:
    return text_of(node).lower() in ("1", "true", "yes")
