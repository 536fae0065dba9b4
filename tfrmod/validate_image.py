"""Validation of one image and its annotation; the actual image takes precedence."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tfrmod import exif, fileio, masks, stated_size
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.file_types import EXTENSIONS
from tfrmod.image_file import MAX_PIXELS, CheckedImage, check_image
from tfrmod.image_headers import ImageError
from tfrmod.problems import MAX_OBJECTS, Problem
from tfrmod.sources import SOURCES, Entry

_UNREADABLE = ("object_unreadable", "line_unreadable")


class Settings(NamedTuple):
    """Settings shared by all images of one conversion."""

    folder: Path
    source: str
    staging: Path
    """Folder of images that were encoded again."""
    max_pixels: int = MAX_PIXELS
    class_names: Collection[str] | None = None
    """Classes to keep; None keeps all."""
    aliases: Mapping[str, str] | None = None
    """{name in an annotation: class name}."""
    longest_side: int = 0
    """Images with a longer side are downscaled; 0: no scaling."""
    is_trusted: bool = False
    """Whether images that need no change are copied without decoding."""
    masks: bool = False
    """Whether masks are read."""
    skip_difficult: bool = False
    """Whether objects marked as difficult are dropped."""


class ValidatedImage(NamedTuple):
    """Result of the validation; the image is None if it is not usable."""

    image: AnnotatedImage | None
    problems: tuple[Problem, ...]
    image_hash: int | None = None
    """Its `near_duplicates.difference_hash`; None if it was not decoded."""
    aliased: tuple[str, ...] = ()
    """Names that were replaced by another class, without duplicates."""


def validate_images(settings: Settings, first: int, entries: Sequence[Entry]) -> list[ValidatedImage]:
    """Returns the results for some consecutive entries.

    Args:
      settings: of the conversion.
      first: position of the first entry in the listing; names and ids follow from it.
      entries: the images.
    """
    return [validate_image(settings, first + offset, entry) for offset, entry in enumerate(entries)]


def validate_image(settings: Settings, index: int, entry: Entry) -> ValidatedImage:
    """Returns the result for one image, with boxes in coordinates of its upright image.

    Raises:
      OSError: an image that was encoded again cannot be written.
    """
    claim, problems = SOURCES[settings.source].read(settings.folder, entry, masks=settings.masks)
    if claim is None:
        return ValidatedImage(None, _with_image(problems, entry))
    if not claim.objects and any(problem.code in _UNREADABLE for problem in problems):
        return ValidatedImage(None, (*problems, Problem("no_object_readable", entry.image)))
    if len(claim.objects) > MAX_OBJECTS:
        message = f"{len(claim.objects):,}, where {MAX_OBJECTS:,} are the most"
        return ValidatedImage(None, (*problems, Problem("too_many_objects", entry.image, message)))
    path = settings.folder / entry.image
    try:
        data = path.read_bytes()
        checked = check_image(
            data,
            max_pixels=settings.max_pixels,
            longest_side=settings.longest_side,
            is_trusted=settings.is_trusted,
        )
    except ImageError as error:
        return ValidatedImage(None, (*problems, Problem(error.code, entry.image, str(error))))
    except OSError as error:
        return ValidatedImage(None, (*problems, Problem("image_undecodable", entry.image, error.strerror or "")))
    settled, size_problems = stated_size.resolve_stated_size(claim, checked)
    if settled is None:
        return ValidatedImage(None, (*problems, *size_problems))
    claim, problems = settled, (*problems, *size_problems)
    placed = placed_objects(claim, checked)
    kept = _kept_objects(placed.objects, settings, entry)
    if checked.encoded is not data:
        path = settings.staging / f"{index:08d}.{checked.format}"
        fileio.write_file(path, checked.encoded, is_synced=False)
    image = replace(
        claim,
        objects=kept.objects,
        height=checked.height,
        width=checked.width,
        path=path,
        format=checked.format,
        sha256=hashlib.sha256(checked.encoded).hexdigest(),
        source_id=claim.source_id or str(index + 1),
    )
    frame = checked.stored_size if placed.turn != exif.UPRIGHT else checked.upright_size
    image = masks.placed(image, turn=placed.turn, stored_size=frame, size=(checked.height, checked.width))
    problems = (*problems, *_image_problems(entry, checked), *placed.problems, *kept.problems)
    aliased = {obj.name for obj in claim.objects} & (settings.aliases or {}).keys()
    return ValidatedImage(image, problems, checked.image_hash, tuple(sorted(aliased)))


class Placed(NamedTuple):
    """The remaining objects, and the problems of all objects."""

    objects: tuple[AnnotatedObject, ...]
    problems: tuple[Problem, ...]
    turn: int = exif.UPRIGHT
    """EXIF orientation by which the boxes were rotated."""


def placed_objects(claim: AnnotatedImage, image: CheckedImage) -> Placed:
    """Returns the objects in coordinates of the final image: rotated and downscaled with it, corners sorted, clipped.

    Args:
      claim: the annotation as stated; its size shows whether boxes refer to the
        stored or the upright image, and is otherwise only compared.
      image: the actual image.
    """
    problems = [*_size_problems(claim, image)]
    turn = image.orientation if problems and problems[0].code == "exif_turned" else exif.UPRIGHT
    stored_height, stored_width = image.stored_size
    height, width = image.upright_size
    objects = []
    for obj in claim.objects:
        y0, x0, y1, x1 = obj.box
        if y0 > y1 or x0 > x1:
            problems.append(Problem("corners_swapped", claim.filename, f"{obj.name} {_numbers(obj.box)}"))
        box = (min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1))
        box = exif.upright_box(box, turn, height=stored_height, width=stored_width)
        clipped = _clipped(box, height, width)
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            problems.append(Problem("box_empty", claim.filename, f"{obj.name} {_numbers(obj.box)}"))
            continue
        if clipped != box and max(abs(new - old) for new, old in zip(clipped, box, strict=True)) > 1e-3:
            message = f"{obj.name} {_numbers(obj.box)} on {width}x{height}"
            problems.append(Problem("box_outside", claim.filename, message))
        if min(clipped[2] - clipped[0], clipped[3] - clipped[1]) < 1:
            problems.append(Problem("box_below_pixel", claim.filename, f"{obj.name} {_numbers(obj.box)}"))
        objects.append(_shrunk(obj if clipped == obj.box else obj._replace(box=clipped), image))
    return Placed(tuple(objects), tuple(problems), turn)


def _shrunk(obj: AnnotatedObject, image: CheckedImage) -> AnnotatedObject:
    """Returns an object of the upright image in coordinates of the downscaled one."""
    if image.given_size is None:
        return obj
    y_scale, x_scale = image.height / image.given_size[0], image.width / image.given_size[1]
    y0, x0, y1, x1 = obj.box
    area = None if obj.mask_area is None else obj.mask_area * y_scale * x_scale
    return obj._replace(box=(y0 * y_scale, x0 * x_scale, y1 * y_scale, x1 * x_scale), mask_area=area)


def _size_problems(claim: AnnotatedImage, image: CheckedImage) -> list[Problem]:
    """Returns problems of the stated size compared with the image's; exif_turned comes first if it applies."""
    stated, upright, stored = (claim.height, claim.width), image.upright_size, image.stored_size
    is_silent = 0 in stated
    if image.orientation != exif.UPRIGHT and stated == stored != upright:
        return [Problem("exif_turned", claim.filename, f"orientation {image.orientation}")]
    problems = []
    if not is_silent and stated != upright:
        message = f"states {claim.width}x{claim.height}, is {upright[1]}x{upright[0]}"
        problems.append(Problem("image_size_differs", claim.filename, message))
    if image.orientation != exif.UPRIGHT and claim.objects and (stated != upright or stored == upright):
        problems.append(Problem("exif_unclear", claim.filename, f"orientation {image.orientation}"))
    return problems


def _clipped(box: Box, height: int, width: int) -> Box:
    y0, x0, y1, x1 = box
    return max(0.0, y0), max(0.0, x0), min(float(height), y1), min(float(width), x1)


def _kept_objects(objects: Iterable[AnnotatedObject], settings: Settings, entry: Entry) -> Placed:
    """Returns the objects with their final class names, without unwanted ones."""
    aliases, names = settings.aliases or {}, settings.class_names
    kept, problems = [], []
    for obj in objects:
        name = aliases.get(obj.name, obj.name)
        if names is not None and name not in names:
            problems.append(Problem("class_not_in_label_map", entry.image, name))
        elif settings.skip_difficult and obj.difficult:
            problems.append(Problem("difficult_left_out", entry.image, name))
        else:
            if obj.is_crowd:
                problems.append(Problem("crowd_not_trained", entry.image, name))
            kept.append(obj if name == obj.name else obj._replace(name=name))
    return Placed(tuple(kept), tuple(problems))


def _with_image(problems: Sequence[Problem], entry: Entry) -> tuple[Problem, ...]:
    """Returns the problems of an unreadable annotation, with the name of the image that is left out."""
    if any(entry.image in (problem.file, *problem.message.split()) for problem in problems):
        return tuple(problems)
    *others, last = problems
    message = "; ".join(filter(None, (last.message, f"{entry.image} is left out")))
    return (*others, last._replace(message=message))


def _image_problems(entry: Entry, image: CheckedImage) -> list[Problem]:
    problems = []
    if image.missing:
        problems.append(Problem("image_truncated_slightly", entry.image, f"{image.missing:.2%} of it is missing"))
    extension = entry.image.rpartition(".")[2].lower()
    if extension not in EXTENSIONS[image.content]:
        problems.append(Problem("format_not_as_named", entry.image, f"is {image.content}"))
    return problems


def _numbers(box: Box) -> str:
    return "(" + ", ".join(f"{side:g}" for side in box) + ")"
