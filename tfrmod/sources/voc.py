"""Pascal VOC: a photo, and beside it or in a sister folder an XML of the same name."""

import functools
import math
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from lxml import etree

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources import voc_masks, voc_pairs, voc_sets
from tfrmod.sources.files import Files, found_files
from tfrmod.sources.recognition import xml_kind
from tfrmod.sources.source import Entry, Listing, Reading

MAX_XML_BYTES = 64 << 20


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether the outermost tag of any XML is Pascal VOC's."""
    return any(xml_kind(folder / path) == "voc" for path in files.xml)


def listing(folder: Path) -> Listing:
    """Returns the photos with an XML, the lists of ImageSets, and what has no partner.

    Raises:
      DatasetError: no photo, no XML, or none that belong together.
    """
    files = found_files(folder)
    others = sorted([*files.others, *files.json, *files.csv, *files.yaml])
    if not files.xml or not files.photos + others:
        missing = "annotations (*.xml)" if not files.xml else "photos"
        raise DatasetError(
            f"Expected photos with Pascal VOC annotations in {folder}, and found no {missing} among {files.total} "
            "files. Does the archive hold another data set, or archives within?"
        )
    pairs, problems = voc_pairs.pair(files.photos, files.xml, others, lambda name: _stated_name(folder, name))
    if not pairs:
        raise DatasetError(
            f"None of the {len(files.xml)} XML files in {folder} belongs to any of the {len(files.photos)} "
            f"photos: neither their names nor their filename tags agree. The first XML is {files.xml[0]}, the "
            f"first photo {files.photos[0] if files.photos else 'missing'}."
        )
    pictures = voc_masks.mask_pictures_of(pairs, files.masks)
    entries = tuple(
        Entry(photo, annotation, os.fsencode(pictures.get(photo, ""))) for photo, annotation in sorted(pairs.items())
    )
    sets, set_problems = voc_sets.read_sets(folder, files.txt, entries)
    return Listing(entries=entries, problems=tuple(problems), sets=sets, set_problems=set_problems)


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns what one XML says of its photo; coordinates as they are written, not yet checked."""
    try:
        root, is_guessed = _parse(folder / entry.annotation)
    except DatasetError as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    problems = [Problem("encoding_guessed", entry.annotation)] if is_guessed else []
    children = _children(root)
    stated_name = PurePosixPath(_text(children.get("filename")).replace("\\", "/")).name
    if stated_name and stated_name != PurePosixPath(entry.image).name:
        problems.append(Problem("filename_differs", entry.annotation, f"names {stated_name}"))
    size = _children(children["size"]) if "size" in children else {}
    objects = []
    for node in _elements(root, "object"):
        thing = _object(node)
        if isinstance(thing, str):
            problems.append(Problem("object_unreadable", entry.annotation, thing))
        else:
            objects.append(thing)
    image = AnnotatedImage(filename=entry.image, objects=tuple(objects), path=folder / entry.image)
    image = replace(image, height=_pixels(size.get("height")), width=_pixels(size.get("width")))
    if masks and entry.detail:
        image, unreadable = voc_masks.with_masks(image, folder, os.fsdecode(entry.detail))
        problems += unreadable
    return Reading(image, tuple(problems))


def _stated_name(folder: Path, annotation: str) -> str:
    """Returns the file that an XML says it is about, without folders; empty where it says nothing."""
    try:
        root, _ = _parse(folder / annotation)
    except DatasetError:
        return ""
    return PurePosixPath(_text(_children(root).get("filename")).replace("\\", "/")).name


def _parse(path: Path) -> tuple[etree._Element, bool]:
    """Returns the root, and whether its encoding had to be guessed.

    Nothing is fetched, no entity is resolved, no DTD is loaded; a document
    that declares entities at all is refused, since no annotation needs one.
    """
    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise DatasetError(f"more than {MAX_XML_BYTES >> 20} MiB")
        data = path.read_bytes().lstrip()
    except OSError as error:
        raise DatasetError(f"cannot be opened: {error.strerror}") from error
    if not data:
        raise DatasetError("the file is empty")
    is_guessed = False
    try:
        root = etree.fromstring(data, _parser())
    except etree.XMLSyntaxError as error:
        if "encoding" not in str(error).lower() and "not proper UTF-8" not in str(error):
            raise DatasetError(f"not well-formed XML: {error.msg}") from error
        try:
            root, is_guessed = etree.fromstring(data, _parser("cp1252")), True
        except (etree.XMLSyntaxError, LookupError):
            raise DatasetError(f"not well-formed XML: {error.msg}") from error
    except ValueError as error:
        raise DatasetError(f"not well-formed XML: {error}") from error
    dtd: Any = root.getroottree().docinfo.internalDTD  # the stubs do not know its entities
    if dtd is not None and next(dtd.iterentities(), None) is not None:
        raise DatasetError("it declares entities, which are refused because they can expand without end")
    if _local_name(root.tag) != "annotation":
        raise DatasetError(f"its outermost tag is <{_local_name(root.tag)}>, where Pascal VOC has <annotation>")
    return root, is_guessed


def _parser(encoding: str | None = None) -> etree.XMLParser:
    return etree.XMLParser(
        encoding=encoding,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def _object(node: etree._Element) -> AnnotatedObject | str:
    """Returns one object, or what is the matter with it. Its parts (<part>) are other things and are not read."""
    children = _children(node)
    name = " ".join(_text(children.get("name")).split())
    if not name:
        return "an object without a name"
    if "bndbox" not in children:
        return f"{name}: no bndbox"
    corners = _children(children["bndbox"])
    try:
        box: Box = tuple(float(_text(corners.get(key))) for key in ("ymin", "xmin", "ymax", "xmax"))  # type: ignore[assignment]
    except ValueError:
        return f"{name}: a coordinate is missing or not a number"
    if not all(map(math.isfinite, box)):
        return f"{name}: a coordinate is not finite"
    return AnnotatedObject(
        name,
        box,
        difficult=_is_set(children.get("difficult")),
        truncated=_is_set(children.get("truncated")),
        view=_text(children.get("pose")),
    )


def _elements(node: etree._Element, name: str) -> list[etree._Element]:
    return [child for child in node.iterchildren(etree.Element) if _local_name(child.tag) == name]


def _children(node: etree._Element) -> dict[str, etree._Element]:
    """Returns the first child of each name, namespaces and capitals aside."""
    children: dict[str, etree._Element] = {}
    for child in node.iterchildren(etree.Element):
        children.setdefault(_local_name(child.tag), child)
    return children


@functools.lru_cache
def _local_name(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def _text(node: etree._Element | None) -> str:
    return (node.text or "").strip() if node is not None else ""


def _pixels(node: etree._Element | None) -> int:
    """Returns a side of the photo, 0 where the XML is silent or talks nonsense."""
    try:
        return max(0, int(float(_text(node))))
    except (ValueError, OverflowError):
        return 0


def _is_set(node: etree._Element | None) -> bool:
    return _text(node).lower() in ("1", "true", "yes")
