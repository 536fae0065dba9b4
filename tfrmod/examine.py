"""One photo and its annotation, looked at: what is true of the photo decides."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tfrmod import orientation
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.checks import Problem
from tfrmod.content import EXTENSIONS
from tfrmod.pixels import Photo, PhotoError, check_photo
from tfrmod.sources import SOURCES, Entry


class Settings(NamedTuple):
    """What every examination of one conversion shares."""

    folder: Path
    source: str
    staging: Path
    """Where photos go that had to be encoded anew."""
    max_pixels: int
    class_names: Collection[str] | None
    """The classes to keep; None keeps all."""


class Examined(NamedTuple):
    """The outcome; the image is None where it cannot be used."""

    image: AnnotatedImage | None
    problems: tuple[Problem, ...]


def examine_all(settings: Settings, first: int, entries: Sequence[Entry]) -> list[Examined]:
    """Returns the outcome for each of some consecutive entries.

    Args:
      settings: of the conversion.
      first: position of the first entry among all; names and numbers follow from it.
      entries: the photos.
    """
    return [examine(settings, first + offset, entry) for offset, entry in enumerate(entries)]


def examine(settings: Settings, index: int, entry: Entry) -> Examined:
    """Returns one photo, checked, with boxes that lie on its upright picture.

    Raises:
      OSError: a photo that had to be encoded anew cannot be written.
    """
    reading = SOURCES[settings.source].read(settings.folder, entry)
    if reading.image is None:
        return Examined(None, reading.problems)
    path = settings.folder / entry.image
    try:
        data = path.read_bytes()
        photo = check_photo(data, max_pixels=settings.max_pixels)
    except PhotoError as error:
        return Examined(None, (*reading.problems, Problem(error.code, entry.image, str(error))))
    except OSError as error:
        return Examined(None, (*reading.problems, Problem("image_undecodable", entry.image, error.strerror or "")))
    placed = placed_objects(reading.image, photo)
    kept = _known_objects(placed, settings.class_names, entry)
    if photo.encoded is not data:
        path = settings.staging / f"{index:08d}.{photo.format}"
        path.write_bytes(photo.encoded)
    image = replace(
        reading.image,
        objects=kept.objects,
        height=photo.height,
        width=photo.width,
        path=path,
        format=photo.format,
        sha256=hashlib.sha256(photo.encoded).hexdigest(),
        source_id=str(index + 1),
    )
    return Examined(image, (*reading.problems, *_name_problems(entry, photo), *placed.problems, *kept.problems))


class Placed(NamedTuple):
    """The objects that are left, and what happened to them and to the others."""

    objects: tuple[AnnotatedObject, ...]
    problems: tuple[Problem, ...]


def placed_objects(claim: AnnotatedImage, photo: Photo) -> Placed:
    """Returns the objects where they are on the upright photo: turned with it, corners sorted, clipped.

    Args:
      claim: what the annotation says; its size tells on which side of an EXIF
        rotation the boxes were drawn, and is otherwise only compared.
      photo: what is true.
    """
    problems = [*_size_problems(claim, photo)]
    turn = photo.orientation if problems and problems[0].code == "exif_turned" else orientation.UPRIGHT
    stored_height, stored_width = photo.stored_size
    objects = []
    for thing in claim.objects:
        y0, x0, y1, x1 = thing.box
        if y0 > y1 or x0 > x1:
            problems.append(Problem("corners_swapped", claim.filename, f"{thing.name} {_numbers(thing.box)}"))
        box = (min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1))
        box = orientation.upright_box(box, turn, height=stored_height, width=stored_width)
        clipped = _clipped(box, photo.height, photo.width)
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            problems.append(Problem("box_empty", claim.filename, f"{thing.name} {_numbers(thing.box)}"))
            continue
        if max(abs(new - old) for new, old in zip(clipped, box, strict=True)) > 1e-3:
            size = f"{photo.width}x{photo.height}"
            problems.append(Problem("box_outside", claim.filename, f"{thing.name} {_numbers(thing.box)} on {size}"))
        objects.append(thing._replace(box=clipped))
    return Placed(tuple(objects), tuple(problems))


def _size_problems(claim: AnnotatedImage, photo: Photo) -> list[Problem]:
    """Compares the size that an annotation states with the photo's; exif_turned comes first where it applies."""
    stated, upright, stored = (claim.height, claim.width), (photo.height, photo.width), photo.stored_size
    is_silent = 0 in stated
    if photo.orientation != orientation.UPRIGHT and stated == stored != upright:
        return [Problem("exif_turned", claim.filename, f"orientation {photo.orientation}")]
    problems = []
    if not is_silent and stated != upright:
        message = f"states {claim.width}x{claim.height}, is {photo.width}x{photo.height}"
        problems.append(Problem("image_size_differs", claim.filename, message))
    if photo.orientation != orientation.UPRIGHT and claim.objects and (stated != upright or stored == upright):
        problems.append(Problem("exif_unclear", claim.filename, f"orientation {photo.orientation}"))
    return problems


def _clipped(box: Box, height: int, width: int) -> Box:
    y0, x0, y1, x1 = box
    return max(0.0, y0), max(0.0, x0), min(float(height), y1), min(float(width), x1)


def _known_objects(placed: Placed, class_names: Collection[str] | None, entry: Entry) -> Placed:
    if class_names is None:
        return Placed(placed.objects, ())
    kept = tuple(thing for thing in placed.objects if thing.name in class_names)
    unknown = [thing.name for thing in placed.objects if thing.name not in class_names]
    return Placed(kept, tuple(Problem("class_not_in_label_map", entry.image, name) for name in unknown))


def _name_problems(entry: Entry, photo: Photo) -> list[Problem]:
    extension = entry.image.rpartition(".")[2].lower()
    if extension in EXTENSIONS[photo.content]:
        return []
    return [Problem("format_not_as_named", entry.image, f"is {photo.content}")]


def _numbers(box: Box) -> str:
    return "(" + ", ".join(f"{side:g}" for side in box) + ")"
