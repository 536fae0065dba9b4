"""Pairing of mask images and their images, by the names of files and folders."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from tfrmod.pairing import agreement
from tfrmod.sources.files import Files
from tfrmod.sources.split_names import SET_WORDS

_LOSSLESS = {"png", "bmp", "gif", "tif", "tiff"}
_MASK_WORDS = {"mask", "masks", "segmentation", "segmentations", "segmentationclass", "semantic", "trimaps", "gt"}
_LABEL_WORDS = {"labels", "label", "annotations", "annotation", "annots"}
_INSTANCE_WORDS = {"instance", "instances", "segmentationobject"}
_ENDING = re.compile(r"[-_. ](mask|masks|l|gt|seg|segmentation|label|labels|instance|instances)$", re.IGNORECASE)


class MaskPairs(NamedTuple):
    """The mask images of a dataset and what they belong to."""

    pairs: dict[str, dict[str, Any]]
    """{image: its class mask ("semantic", "" for none) and its object masks ("instances")}."""
    unmatched: list[str]
    """Masks without an image."""
    doubts: dict[str, list[str]]
    """{file: the images that it may belong to}."""
    lossy: list[str]
    """JPEG and WebP files in the place of masks, such as masks/a.jpg beside images/a.jpg: they are neither."""


def pair_masks(files: Files) -> MaskPairs:
    """Returns the images with masks, and what could not be paired."""
    kinds = {path: mask_kind(path) for path in (*files.images, *files.masks)}
    lossy = lossy_masks(kinds)
    images: dict[str, list[str]] = defaultdict(list)
    for path, kind in kinds.items():
        if kind is None and path not in lossy:
            images[PurePosixPath(path).stem.lower()].append(path)
    pairs: dict[str, dict[str, Any]] = {}
    unmatched = []
    doubts: dict[str, list[str]] = {}
    rivals: dict[str, list[str]] = defaultdict(list)
    for path, kind in kinds.items():
        if kind is None:
            continue
        fitting, is_alone = _images_of(path, images)
        if not fitting:
            unmatched.append(path)
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
    doubts |= {image: paths for image, paths in rivals.items() if len(paths) > 1}
    in_doubt = {*doubts, *(path for found in doubts.values() for path in found)}
    sure = {image: found for image, found in pairs.items() if image not in in_doubt}
    return MaskPairs(sure, unmatched, doubts, sorted(lossy))


def lossy_masks(paths: Iterable[str]) -> set[str]:
    """Returns the files of lossy formats that are in a folder of masks, and whose name an image elsewhere has."""
    outside, inside = set(), []
    for path in paths:
        if mask_kind(path) is not None:
            continue
        if not _is_lossless(path) and _is_named_mask(path):
            inside.append(path)
        else:
            outside.add(PurePosixPath(path).stem.lower())
    return {path for path in inside if outside & _stems(path)}


def _stems(path: str) -> set[str]:
    stem = PurePosixPath(path).stem.lower()
    return {stem, _ENDING.sub("", stem)}


def _is_lossless(path: str) -> bool:
    return PurePosixPath(path).suffix.lower().removeprefix(".") in _LOSSLESS


def mask_kind(path: str) -> str | None:
    """Returns the kind of an image by its name and folder: semantic, instances, or None for an ordinary image."""
    if not _is_lossless(path):
        return None
    return next((kind for part in _name_parts(path) if (kind := _kind_of_name(part))), None)


def _is_named_mask(path: str) -> bool:
    """Returns whether the innermost folder that is not one of a split, or the end of the file's name, says mask."""
    *folders, ending = _name_parts(path)
    inner = next((part for part in folders if part.lower() not in SET_WORDS), "")
    return _kind_of_name(inner) is not None or _kind_of_name(ending) is not None


def _name_parts(path: str) -> list[str]:
    """Returns the folders of a file, the inner ones first, and the ending of its name."""
    file = PurePosixPath(path)
    ending = _ENDING.search(file.stem)
    return [*reversed(file.parts[:-1]), ending.group(1) if ending else ""]


def _kind_of_name(part: str) -> str | None:
    words = set(re.findall(r"[a-z]+", part.lower()))
    if words & _INSTANCE_WORDS:
        return "instances"
    return "semantic" if words & _MASK_WORDS or part.lower() in _LABEL_WORDS else None


def _images_of(mask: str, images: dict[str, list[str]]) -> tuple[list[str], bool]:
    """Returns the image of a mask (several if ambiguous), and whether the mask is the only one of the image.

    The mask has the name of the image, with an optional suffix; or it is one of
    several in a folder with the name of the image.
    """
    file = PurePosixPath(mask)
    stem = file.stem.lower()
    for name, is_alone in ((stem, True), (_ENDING.sub("", stem), True), (file.parent.name.lower(), False)):
        if images.get(name):
            return _nearest(mask, images[name]), is_alone
    if len(file.parts) > 2 and images.get(file.parts[-3].lower()):
        return _nearest(mask, images[file.parts[-3].lower()]), False
    return [], False


def _nearest(mask: str, images: Sequence[str]) -> list[str]:
    """Returns the image whose name has the case of the mask's, and whose folders agree best with the mask's."""
    words = {PurePosixPath(mask).stem, _ENDING.sub("", PurePosixPath(mask).stem), *PurePosixPath(mask).parts[-3:-1]}
    ranks = [(PurePosixPath(image).stem in words, agreement(mask, image)) for image in images]
    return [image for image, rank in zip(images, ranks, strict=True) if rank == max(ranks)]
