"""Photos with pictures of masks: the class of every pixel, or which of several things it belongs to."""

import json
import re
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tfrmod import masks as mask_pictures
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources import yolo_sets
from tfrmod.sources.files import Files, found_files, nearness
from tfrmod.sources.mask_classes import meaning
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
    pairs, strangers = _paired(files)
    if not pairs:
        raise DatasetError(
            f"Expected photos in {folder} and lossless pictures of masks (PNG) that bear their names, in a folder "
            f"called masks for example, and found {len(files.photos)} pictures, none of which belong together."
        )
    semantic = [found["semantic"] for _, found in sorted(pairs.items()) if found["semantic"]]
    sense = meaning(folder, files, semantic)
    problems = [Problem("annotation_without_image", path) for path in strangers]
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
    sets, set_problems = yolo_sets.read_sets(folder, files, {"": papers}, tuple(entries))
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


def _paired(files: Files) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Returns {photo: its mask of classes and its masks of things}, and the masks of no photo."""
    kinds = {path: _kind(path) for path in (*files.photos, *files.masks)}
    photos: dict[str, list[str]] = defaultdict(list)
    for path, kind in kinds.items():
        if kind is None:
            photos[PurePosixPath(path).stem.lower()].append(path)
    pairs: dict[str, dict[str, Any]] = {}
    strangers = []
    for path, kind in kinds.items():
        if kind is None:
            continue
        photo, is_alone = _photo_of(path, photos)
        if photo is None:
            strangers.append(path)
            continue
        found = pairs.setdefault(photo, {"semantic": "", "instances": []})
        if kind == "semantic" and is_alone and not found["semantic"]:
            found["semantic"] = path
        else:
            found["instances"].append(path)
    return pairs, strangers


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


def _photo_of(mask: str, photos: dict[str, list[str]]) -> tuple[str | None, bool]:
    """Returns the photo of a mask, and whether the mask is the only one that its photo has.

    Its name is that of the photo, or that of the photo with an ending; or it
    is one of many, in a folder that bears the photo's name.
    """
    file = PurePosixPath(mask)
    stem = file.stem.lower()
    for name, is_alone in ((stem, True), (_ENDING.sub("", stem), True), (file.parent.name.lower(), False)):
        if photos.get(name):
            return max(photos[name], key=lambda photo: nearness(mask, photo)), is_alone
    if len(file.parts) > 2 and photos.get(file.parts[-3].lower()):
        return max(photos[file.parts[-3].lower()], key=lambda photo: nearness(mask, photo)), False
    return None, False


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
