"""Photos with pictures of masks: the class of every pixel, or which of several things it belongs to."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tfrmod import masks as mask_pictures
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources import yolo_sets
from tfrmod.sources.files import Files, found_files
from tfrmod.sources.mask_classes import meaning
from tfrmod.sources.pairing import agreement
from tfrmod.sources.photo_size import upright_size
from tfrmod.sources.set_names import set_name
from tfrmod.sources.source import Entry, Listing, Reading
from tfrmod.sources.yolo_papers import Papers

_LOSSLESS = {"png", "bmp", "gif", "tif", "tiff"}
_MASK_WORDS = {"mask", "masks", "segmentation", "segmentations", "segmentationclass", "semantic", "trimaps", "gt"}
_LABEL_WORDS = {"labels", "label", "annotations", "annotation", "annots"}
_INSTANCE_WORDS = {"instance", "instances", "segmentationobject"}
_ENDING = re.compile(r"[-_. ](mask|masks|l|gt|seg|segmentation|label|labels|instance|instances)$", re.IGNORECASE)
_MAX_THINGS = 10_000
_OBJECT = "object"


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether photos lie in one folder and pictures of the same names in one of masks."""
    return bool(_paired(files)[0])


def listing(folder: Path) -> Listing:
    """Returns the photos that have a mask, and the lists of them that lie beside.

    Raises:
      DatasetError: no photo has one.
    """
    files = found_files(folder)
    pairs, strangers, doubts = _paired(files)
    if not pairs:
        raise DatasetError(
            f"Expected photos in {folder} and lossless pictures of masks (PNG) that bear their names, in a folder "
            f"called masks for example, and found {len(files.photos)} pictures, none of which belong together."
        )
    semantic = [found["semantic"] for _, found in sorted(pairs.items()) if found["semantic"]]
    sense = meaning(folder, files, semantic)
    problems = [Problem("annotation_without_image", path) for path in strangers]
    problems += [Problem("image_ambiguous", path, f"fits {', '.join(found)}") for path, found in doubts.items()]
    problems += sense.problems
    photos = [photo for photo in files.photos if photo not in pairs and _kind(photo) is None]
    problems += [Problem("image_without_annotation", photo) for photo in photos]
    names = sense.names or {1: _OBJECT}
    entries = []
    for photo, found in sorted(pairs.items()):
        note = {**found, "names": sorted(names.items()), "numbers": sense.numbers}
        annotation = found["semantic"] or found["instances"][0]
        entries.append(Entry(photo, annotation, json.dumps(note, separators=(",", ":")).encode()))
    lists: dict[str, list[str]] = defaultdict(list)
    for path in files.txt:
        name = set_name(PurePosixPath(path).stem)
        if name is not None and PurePosixPath(path).stem.lower() in (name, "valid", "validation", "testing"):
            lists[name].append(path)
    papers = Papers({}, {name: tuple(paths) for name, paths in lists.items()})
    sets, set_problems, in_vain = yolo_sets.read_sets(folder, files, {"": papers}, tuple(entries))
    problems += in_vain
    return Listing(
        entries=tuple(entries), problems=tuple(problems), sets=sets, set_problems=set_problems, label_map=names
    )


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns what the masks of one photo show: objects only where they tell one thing from the next."""
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
                raise DatasetError(f"{path} has another size than the other masks of this photo")
            objects += things(values, classes, names, masks=masks)
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


def _paired(files: Files) -> tuple[dict[str, dict[str, Any]], list[str], dict[str, list[str]]]:
    """Returns {image: its mask of classes and its masks of things}, masks of no image, and {file: those it fits}."""
    kinds = {path: _kind(path) for path in (*files.photos, *files.masks)}
    photos: dict[str, list[str]] = defaultdict(list)
    for path, kind in kinds.items():
        if kind is None:
            photos[PurePosixPath(path).stem.lower()].append(path)
    pairs: dict[str, dict[str, Any]] = {}
    strangers = []
    doubts: dict[str, list[str]] = {}
    rivals: dict[str, list[str]] = defaultdict(list)
    for path, kind in kinds.items():
        if kind is None:
            continue
        fitting, is_alone = _photos_of(path, photos)
        if not fitting:
            strangers.append(path)
            continue
        if len(fitting) > 1:
            doubts[path] = fitting
            continue
        found = pairs.setdefault(fitting[0], {"semantic": "", "instances": []})
        if kind == "semantic" and is_alone:
            rivals[fitting[0]].append(path)
            found["semantic"] = path
        else:
            found["instances"].append(path)
    doubts |= {photo: paths for photo, paths in rivals.items() if len(paths) > 1}
    in_doubt = {*doubts, *(path for found in doubts.values() for path in found)}
    return {photo: found for photo, found in pairs.items() if photo not in in_doubt}, strangers, doubts


def _kind(path: str) -> str | None:
    """Returns what a picture is by its name and folder: semantic, instances, or a photo (None)."""
    file = PurePosixPath(path)
    if file.suffix.lower().removeprefix(".") not in _LOSSLESS:
        return None
    ending = _ENDING.search(file.stem)
    for part in (*reversed(file.parts[:-1]), ending.group(1) if ending else ""):
        words = set(re.findall(r"[a-z]+", part.lower()))
        if words & _INSTANCE_WORDS:
            return "instances"
        if words & _MASK_WORDS or part.lower() in _LABEL_WORDS:
            return "semantic"
    return None


def _photos_of(mask: str, photos: dict[str, list[str]]) -> tuple[list[str], bool]:
    """Returns the image of a mask (several where that is in doubt), and whether the mask is the only one it has.

    Its name is that of the image, or that of the image with an ending; or it
    is one of many, in a folder that bears the image's name.
    """
    file = PurePosixPath(mask)
    stem = file.stem.lower()
    for name, is_alone in ((stem, True), (_ENDING.sub("", stem), True), (file.parent.name.lower(), False)):
        if photos.get(name):
            return _nearest(mask, photos[name]), is_alone
    if len(file.parts) > 2 and photos.get(file.parts[-3].lower()):
        return _nearest(mask, photos[file.parts[-3].lower()]), False
    return [], False


def _nearest(mask: str, photos: Sequence[str]) -> list[str]:
    """Returns the image of some whose name has the capitals of the mask's, and whose folders agree best with its."""
    words = {PurePosixPath(mask).stem, _ENDING.sub("", PurePosixPath(mask).stem), *PurePosixPath(mask).parts[-3:-1]}
    ranks = [(PurePosixPath(photo).stem in words, agreement(mask, photo)) for photo in photos]
    return [photo for photo, rank in zip(photos, ranks, strict=True) if rank == max(ranks)]


def _classes(folder: Path, note: dict[str, Any], frame: tuple[int, int]) -> np.ndarray | None:
    """Returns the class id of every pixel of a photo (its height and width: `frame`), None where no mask tells."""
    if not note["semantic"]:
        return None
    pairs = note["numbers"]
    numbers = None
    if pairs is not None:
        numbers = {tuple(value) if isinstance(value, list) else value: number for value, number in pairs}
    values = mask_pictures.png_array(mask_pictures.class_png((folder / note["semantic"]).read_bytes(), numbers))
    return mask_pictures.fitted(values, frame)


def things(
    values: np.ndarray, classes: np.ndarray | None, names: dict[int, str], *, masks: bool
) -> list[AnnotatedObject]:
    """Returns the things of a picture that gives each a value or colour of its own, 0 being none."""
    if values.ndim == 3:
        values = (values.astype(np.uint32) * np.array([1 << 16, 1 << 8, 1], np.uint32)).sum(-1)
    numbers, positions = np.unique(values, return_inverse=True)
    if len(numbers) > _MAX_THINGS:
        raise DatasetError(f"{len(numbers)} things on one photo, which must be colours of something else")
    is_binary = set(numbers.tolist()) <= {0, mask_pictures.IGNORED}
    positions = positions.reshape(values.shape)
    found = []
    for index, number in enumerate(numbers.tolist()):
        # 255 rings the things of VOC; alone it is one.
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
    """Returns the class that most pixels of a thing have, the first where no mask of classes tells."""
    counts = np.bincount(classes, minlength=1) if classes is not None else np.zeros(1, int)
    counts[0] = 0
    number = int(counts[: mask_pictures.IGNORED].argmax()) if counts.any() else min(names)
    return names.get(number, str(number))
