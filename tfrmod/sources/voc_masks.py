"""SegmentationObject: pictures of a VOC data set in which every thing has a value of its own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.sources.mask_pictures import things
from tfrmod.sources.pairing import Names

_FOLDER = "segmentationobject"
_SAME = 0.5  # Intersection over union; the boxes were drawn around the same things, by hand.


def mask_pictures_of(pairs: Mapping[str, str], pictures: Iterable[str]) -> tuple[dict[str, str], list[Problem]]:
    """Returns {image: the picture of its things}, and the images that several pictures fit equally well.

    Where several years have a picture of one name, the nearest is meant.

    Args:
      pairs: {image: XML}.
      pictures: files in VOC's folders of masks.
    """
    names = Names(path for path in pictures if PurePosixPath(path).parent.name.lower() == _FOLDER)
    chosen: dict[str, str] = {}
    problems = []
    for image in pairs if names.paths else ():
        found = names.find(PurePosixPath(image).stem, near=image)
        if len(found) == 1:
            chosen[image] = found[0]
        elif found:
            problems.append(Problem("mask_unreadable", image, f"{', '.join(found)} fit equally well"))
    return chosen, problems


def with_masks(image: AnnotatedImage, folder: Path, picture: str) -> tuple[AnnotatedImage, list[Problem]]:
    """Returns the image with the mask of every object that the picture shows, matched by box.

    Names stay the annotation's: a picture of classes numbers them as the
    challenge did, which says nothing about the ids of these shards.
    """
    try:
        shown = things(png_array((folder / picture).read_bytes()), None, {1: ""}, masks=True)
    except (DatasetError, OSError) as error:
        return image, [Problem("mask_unreadable", picture, str(error))]
    return replace(image, objects=tuple(_masked(thing, shown) for thing in image.objects)), []


def _masked(thing: AnnotatedObject, shown: Sequence[AnnotatedObject]) -> AnnotatedObject:
    best = max(shown, key=lambda other: _overlap(thing.box, other.box), default=None)
    if best is None or _overlap(thing.box, best.box) < _SAME:
        return thing
    return thing._replace(mask=best.mask, mask_area=best.mask_area)


def _overlap(one: Box, other: Box) -> float:
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, height) * max(0.0, width)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0
