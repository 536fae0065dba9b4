"""Mask images: one PNG per image whose colors or values are classes."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from tfrmod import masks
from tfrmod import masks as mask_pictures
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.problems import Problem
from tfrmod.sources import yolo_config
from tfrmod.sources.coordinates import upright_size
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.mask_pairs import mask_kind, pair_masks
from tfrmod.sources.source import Entry, Listing, Reading
from tfrmod.sources.split_names import set_name
from tfrmod.sources.yolo_config import DatasetDescription
from tfrmod.text import clean_name, read_text

Color = tuple[int, int, int]

_CLASS_LISTS = ("labelmap.txt", "_classes.csv", "classes.txt", "labels.txt", "class_names.txt")
_BACKGROUND = re.compile(r"_*(background|bg|void|unlabell?ed|__ignore__)_*", re.IGNORECASE)
_COLORS = re.compile(r"([^:#]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(:|$)")
_MAX_BYTES = 1 << 20
PROBED = 32
"""Number of masks whose values tell the classes of a dataset without a list of them."""


class Meaning(NamedTuple):
    """Meaning of the mask values of one dataset."""

    names: dict[int, str]
    """{class id, from 1: name}."""
    numbers: tuple[tuple[int | Color, int], ...] | None = None
    """Pairs of a value or color and its class id, if the values are not the ids themselves."""
    problems: tuple[Problem, ...] = ()
    """Problems of the files that describe the classes."""
    is_guess: bool = False
    """Whether the names are the values, because no file names the classes."""


def meaning(folder: Path, files: Files, pictures: Sequence[str], *, probed: int = PROBED) -> Meaning:
    """Returns the meaning as described in the dataset, or else inferred from the first masks.

    Masks with only 0 and 255 have two classes, as painting programs write them;
    in other masks 255 marks ignored pixels (VOC).

    Args:
      folder: of the dataset.
      files: of the dataset.
      pictures: masks of classes.
      probed: number of masks to read.

    Raises:
      DatasetError: a list of classes is ambiguous, or two of them disagree.
    """
    values = _values(folder, pictures[:probed])
    is_binary = values == {masks.IGNORED}
    for name in _CLASS_LISTS:
        descriptions = [path for path in (*files.txt, *files.csv) if PurePosixPath(path).name.lower() == name]
        found = _agreed(folder, sorted(descriptions, key=lambda path: (path.count("/"), path)))
        if found is not None:
            return found._replace(numbers=((masks.IGNORED, 1),)) if is_binary and not found.numbers else found
    if is_binary or values == {1}:
        return Meaning({1: "object"}, ((masks.IGNORED, 1),) if is_binary else None)
    return Meaning({value: str(value) for value in sorted(values - {masks.IGNORED})}, is_guess=True)


def _values(folder: Path, pictures: Iterable[str]) -> set[int]:
    """Returns the values except 0 in masks; color masks are skipped."""
    values: set[int] = set()
    for path in pictures:
        try:
            array = masks.png_array((folder / path).read_bytes())
        except (OSError, DatasetError):
            continue
        if array.ndim == 2:
            values.update(np.unique(array).tolist())
    return {value for value in values if 0 < value <= masks.IGNORED}


def _agreed(folder: Path, descriptions: Sequence[str]) -> Meaning | None:
    """Returns the meaning in several files of one name; None if they name no class.

    Raises:
      DatasetError: one cannot be read, or they disagree.
    """
    first: tuple[str, Meaning] | None = None
    problems: list[Problem] = []
    for path in descriptions:
        try:
            found, encoding = _read(folder / path)
        except (OSError, DatasetError) as error:
            raise DatasetError(
                f"The list of classes {path} cannot be used: {error}. Correct the file, or remove it if the dataset "
                "has another one."
            ) from None
        if encoding:
            problems.append(Problem("encoding_guessed", path, f"it is not UTF-8; read as {encoding}"))
        if not found.names:
            continue
        if first is not None and found != first[1]:
            raise DatasetError(
                f"Two lists of classes disagree, {first[0]} and {path}: {_difference(first[1], found)}. Remove the one "
                "that is wrong, or convert each part of the dataset by itself."
            )
        first = first or (path, found)
    return first[1]._replace(problems=tuple(problems)) if first is not None else None


def _difference(one: Meaning, other: Meaning) -> str:
    for number in sorted(one.names.keys() | other.names.keys()):
        if one.names.get(number) != other.names.get(number):
            return f"class {number} is {one.names.get(number)!r} and {other.names.get(number)!r}"
    return "their colors differ"


def _read(path: Path) -> tuple[Meaning, str]:
    """Returns the meaning in one file, and its encoding if that is a guess.

    Raises:
      DatasetError: it is too large, not text, or has an invalid name.
      OSError: it cannot be opened.
    """
    decoded = read_text(path, max_bytes=_MAX_BYTES)
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", decoded.text.rstrip())]
    if path.name.lower() == "labelmap.txt":
        found = _colored([line for line in lines if line and not line.startswith("#")])
    elif path.suffix.lower() == ".csv":
        rows = [row for row in csv.reader(lines) if len(row) >= 2 and row[0].strip().isdecimal()]
        found = Meaning(_numbered({int(row[0]): row[1].strip() for row in rows if len(row[0].strip()) < 4}))
    else:
        found = _listed([line for line in lines if not line.startswith("#")])
    names = {number: clean_name(name) for number, name in found.names.items()}
    return found._replace(names=names), decoded.encoding if decoded.is_guessed else ""


def _listed(lines: Sequence[str]) -> Meaning:
    """Returns the classes of a text with one name per line.

    Raises:
      DatasetError: a line is blank; the numbers of the following names would be
        ambiguous.
    """
    if "" in lines and any(lines):
        raise DatasetError(f"line {lines.index('') + 1} is blank, and it is unclear whether it counts; remove it")
    starts_with_background = bool(lines) and _BACKGROUND.fullmatch(lines[0]) is not None
    return Meaning(_numbered(dict(enumerate(lines, start=0 if starts_with_background else 1))))


def _numbered(names: dict[int, str]) -> dict[int, str]:
    """Returns the classes that a pixel can have, without background."""
    return {
        number: name
        for number, name in names.items()
        if 0 < number < masks.IGNORED and name and not _BACKGROUND.fullmatch(name)
    }


def _colored(lines: Sequence[str]) -> Meaning:
    """Returns the classes of CVAT's lines name:red,green,blue:parts:actions, numbered in order."""
    names: dict[int, str] = {}
    numbers: list[tuple[int | Color, int]] = []
    for line in lines:
        match = _COLORS.match(line)
        if match is None:
            continue
        color = (int(match[2]), int(match[3]), int(match[4]))
        if _BACKGROUND.fullmatch(match[1]):
            numbers.append((color, 0))
        elif len(names) < masks.IGNORED - 1:
            names[len(names) + 1] = match[1].strip()
            numbers.append((color, len(names)))
    return Meaning(names, tuple(numbers))


_LOSSY = "the compression of JPEG changes the values of a mask; make the masks again as PNG"
_MAX_THINGS = 10_000
OBJECT = "object"


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether one folder has images and another one masks with the same names."""
    return bool(pair_masks(files).pairs)


def listing(folder: Path, *, probed: int = PROBED) -> Listing:
    """Returns the images with a mask, and the lists of them in the dataset.

    Args:
      folder: of the dataset.
      probed: number of masks to read for the classes, where no file lists them.

    Raises:
      DatasetError: no image has a mask.
    """
    files = list_files(folder)
    pairs, unmatched, doubts, lossy = pair_masks(files)
    if not pairs:
        raise DatasetError(
            f"Expected images in {folder} and lossless mask images (PNG) with the same names, in a folder "
            f"named masks for example, and found {counted(len(files.images), 'image')}, none of which belong together."
            + lossy_advice(lossy)
        )
    semantic = [found["semantic"] for _, found in sorted(pairs.items()) if found["semantic"]]
    sense = meaning(folder, files, semantic, probed=probed)
    problems = [Problem("annotation_without_image", path) for path in unmatched]
    problems += [Problem("image_ambiguous", path, f"fits {', '.join(found)}") for path, found in doubts.items()]
    problems += sense.problems
    images = [image for image in files.images if image not in pairs and mask_kind(image) is None]
    problems += [Problem("image_without_annotation", image) for image in images if image not in lossy]
    problems += [Problem("annotation_malformed", path, _LOSSY) for path in lossy]
    names = sense.names or {1: OBJECT}
    entries = []
    for image, found in sorted(pairs.items()):
        note = {**found, "names": sorted(names.items()), "numbers": sense.numbers, "guess": sense.is_guess}
        annotation = found["semantic"] or found["instances"][0]
        entries.append(Entry(image, annotation, json.dumps(note, separators=(",", ":")).encode()))
    lists: dict[str, list[str]] = defaultdict(list)
    for path in files.txt:
        name = set_name(PurePosixPath(path).stem)
        if name is not None and PurePosixPath(path).stem.lower() in (name, "valid", "validation", "testing"):
            lists[name].append(path)
    descriptions = DatasetDescription({}, {name: tuple(paths) for name, paths in lists.items()})
    sets, set_problems, in_vain = yolo_config.read_sets(folder, files, {"": descriptions}, tuple(entries))
    problems += in_vain
    return Listing(
        entries=tuple(entries), problems=tuple(problems), sets=sets, set_problems=set_problems, label_map=names
    )


def lossy_advice(lossy: Sequence[str]) -> str:
    """Returns a sentence on masks of lossy formats, empty if there are none."""
    return f" {len(lossy)} masks, for example {lossy[0]}, have a lossy format: {_LOSSY}." if lossy else ""


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the objects and masks of one image; objects only if the masks distinguish them."""
    note = json.loads(entry.detail)
    names = dict(note["names"])
    frame = upright_size(folder / entry.image)
    try:
        classes = _classes(folder, note, frame)
        sizes = {classes.shape} if classes is not None else set()
        objects: list[AnnotatedObject] = []
        for path in note["instances"]:
            values = mask_pictures.fitted(mask_pictures.png_array((folder / path).read_bytes()), frame)
            sizes.add(values.shape[:2])
            if len(sizes) > 1:
                raise DatasetError(f"{path} has another size than the other masks of this image")
            objects += mask_objects(values, classes, names, masks=masks)
    except (DatasetError, OSError) as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    left_out = [Problem("mask_left_out", entry.image)] if classes is not None and not objects and not masks else []
    height, width = sizes.pop()
    image = AnnotatedImage(
        filename=entry.image,
        objects=tuple(objects),
        height=height,
        width=width,
        path=folder / entry.image,
        segmentation=mask_pictures.array_png(classes) if masks and classes is not None else b"",
    )
    return Reading(image, tuple(left_out))


def _classes(folder: Path, note: dict[str, Any], frame: tuple[int, int]) -> np.ndarray | None:
    """Returns the class id of each pixel of an image (its height and width: `frame`), None if no mask has classes."""
    if not note["semantic"]:
        return None
    pairs = note["numbers"]
    numbers = None
    if pairs is not None:
        numbers = {tuple(value) if isinstance(value, list) else value: number for value, number in pairs}
    values = mask_pictures.png_array(mask_pictures.class_png((folder / note["semantic"]).read_bytes(), numbers))
    return mask_pictures.fitted(values, frame)


def mask_objects(
    values: np.ndarray, classes: np.ndarray | None, names: dict[int, str], *, masks: bool
) -> list[AnnotatedObject]:
    """Returns the objects of a mask in which each object has a value or color of its own, 0 being none."""
    if values.ndim == 3:
        values = (values.astype(np.uint32) * np.array([1 << 16, 1 << 8, 1], np.uint32)).sum(-1)
    numbers, positions = np.unique(values, return_inverse=True)
    if len(numbers) > _MAX_THINGS:
        raise DatasetError(f"{len(numbers)} objects in one image, so the colors must mean something else")
    is_binary = set(numbers.tolist()) <= {0, mask_pictures.IGNORED}
    positions = positions.reshape(values.shape)
    found = []
    for index, number in enumerate(numbers.tolist()):
        # 255 outlines the objects in VOC; if it is the only value, it is an object.
        if number == 0 or (number == mask_pictures.IGNORED and not is_binary and values.dtype == np.uint8):
            continue
        is_thing = positions == index
        down, across = np.flatnonzero(is_thing.any(1)), np.flatnonzero(is_thing.any(0))
        box = (float(down[0]), float(across[0]), float(down[-1] + 1), float(across[-1] + 1))
        name = _name(classes[is_thing] if classes is not None else None, names)
        mask = mask_pictures.array_png(is_thing.astype(np.uint8)) if masks else b""
        found.append(AnnotatedObject(name, box, mask_area=float(is_thing.sum()), mask=mask))
    return found


def _name(classes: np.ndarray | None, names: dict[int, str]) -> str:
    """Returns the class of most pixels of an object, the first class if no mask has classes."""
    counts = np.bincount(classes, minlength=1) if classes is not None else np.zeros(1, int)
    counts[0] = 0
    number = int(counts[: mask_pictures.IGNORED].argmax()) if counts.any() else min(names)
    return names.get(number, str(number))
