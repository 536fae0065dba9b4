"""YOLO: one text file per image with one object per line, in fractions of the image's sides."""

import functools
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tfrmod import masks as mask_pictures
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.problems import Problem
from tfrmod.sources import yolo_config, yolo_lines
from tfrmod.sources.coordinates import upright_size
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.source import Entry, Listing, Reading
from tfrmod.sources.yolo_classes import ClassLists, check_blanks
from tfrmod.sources.yolo_config import DatasetDescription, darknet_sets, read_description
from tfrmod.sources.yolo_pairing import Pairing, are_alike, paired, split_backgrounds
from tfrmod.text import decode_text, read_text

_MAX_LABEL_BYTES = 16 << 20
_PROBED_FILES = 200


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether a text file with an image's name has lines of a class and four or more numbers."""
    if not files.txt:
        return False
    stems = {_stem(image) for image in files.images} | {PurePosixPath(image).name.lower() for image in files.images}
    candidates = [path for path in files.txt if _stem(path) in stems]
    return any(_looks_like_labels(folder / path) for path in candidates[:_PROBED_FILES])


def listing(folder: Path) -> Listing:
    """Returns the images, including backgrounds, and the sets that are named.

    Raises:
      DatasetError: there is no image, no label file that belongs to one, or it is
        ambiguous to which label files a list of class names applies.
    """
    files = list_files(folder)
    lists = ClassLists(folder, files)
    darknet = darknet_sets(folder, files)
    others = {*lists.lists, *lists.failed, *itertools.chain(*darknet.values())}
    pairing = _paired(folder, files, [path for path in files.txt if path not in others])
    pairing, problems = _without_misfits(folder, pairing)
    problems += [
        Problem("image_ambiguous", image, f"fits {', '.join(found[:5])}") for image, found in pairing.doubtful.items()
    ]
    if not pairing.labels:
        example = f" For example, {problems[-1].file} {problems[-1].message}." if problems else ""
        raise DatasetError(
            f"Expected images in {folder} with YOLO labels, a text of the same name next to each or in a sibling "
            f"folder labels, and found {counted(len(files.images), 'image')} and {counted(len(files.txt), 'text')}, "
            f"none of which belong together beyond doubt.{example}"
        )
    chosen = lists.assign(sorted(set(pairing.labels.values())))
    backgrounds, of_images = split_backgrounds(folder, files.images, pairing)
    problems += of_images
    left = [path for path in pairing.left if _looks_like_labels(folder / path)]
    problems += [Problem("annotation_without_image", path) for path in left]
    problems += lists.problems()
    details = _details(folder, chosen, lists)
    entries = tuple(
        Entry(image, label, details.get(label, b""))
        for image in files.images
        if (label := pairing.labels.get(image, "")) or image in backgrounds
    )
    described = {path: lists.lists[path] for path in lists.descriptions()} or {"": DatasetDescription({}, darknet)}
    sets, set_problems, in_vain = yolo_config.read_sets(folder, files, described, entries)
    problems += in_vain
    label_map = lists.label_map(problems) if any(chosen.values()) else _numbered(folder, chosen)
    return Listing(
        entries=entries,
        problems=tuple(problems),
        sets=sets,
        set_problems=set_problems,
        label_map=label_map or None,
    )


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the annotation of one image; boxes in pixels of the upright image."""
    path = folder / entry.image
    height, width = upright_size(path)
    claim = AnnotatedImage(filename=entry.image, height=height, width=width, path=path)
    if not entry.annotation or not height:
        return Reading(claim)
    note = json.loads(entry.detail)
    keypoints = tuple(note["keypoints"]) if note["keypoints"] else None
    try:
        names = _names(folder, note["list"])
        lines = _lines(folder / entry.annotation)
    except (DatasetError, OSError) as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    objects, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            index, numbers = yolo_lines.parse(line)
            name = str(index) if names is None else names.get(index)
            if name is None:
                raise DatasetError(f"the class {index} has no name in {note['list']}, which names {len(names or ())}")
            is_outline = yolo_lines.is_outline(numbers, keypoints, has_outlines=note["outlines"])
        except yolo_lines.DoubtfulLineError as error:
            # Without this object the image would be trained as background.
            return Reading(None, (Problem("annotation_malformed", entry.annotation, f"line {number}: {error}"),))
        except DatasetError as error:
            problems.append(Problem("object_unreadable", entry.annotation, f"line {number}: {error}"))
            continue
        shares = numbers if is_outline else numbers[:4]
        points = [share * side for share, side in zip(shares, (width, height) * (len(shares) // 2), strict=True)]
        obj = AnnotatedObject(name, _box(points, is_outline=is_outline))
        if masks and is_outline:
            obj = obj._replace(mask=mask_pictures.polygons_png([points], height, width))
        objects.append(obj)
    return Reading(replace(claim, objects=tuple(objects)), tuple(problems))


def _paired(folder: Path, files: Files, texts: Sequence[str]) -> Pairing:
    @functools.cache
    def lines(path: str) -> list[str]:
        try:
            return [line for line in _lines(folder / path) if line.strip()]
        except (DatasetError, OSError):
            return ["unreadable"]

    return paired(
        files.images,
        texts,
        is_label=lambda path: not (first := lines(path)[:1]) or yolo_lines.LABEL_LINE.fullmatch(first[0]) is not None,
        are_equal=lambda one, other: lines(one) == lines(other),
    )


def _without_misfits(folder: Path, pairing: Pairing) -> tuple[Pairing, list[Problem]]:
    """Returns the pairing without images that share a label file but differ, and notes on those that do share one.

    By YOLO's rule a.jpg and a.png have one label file. If they differ, one label
    file was overwritten by another, and the boxes belong to one of the images.
    """
    shared: dict[str, list[str]] = defaultdict(list)
    counts = Counter(pairing.labels.values())
    for image, label in pairing.labels.items():
        if counts[label] > 1:
            shared[label].append(image)
    labels, doubtful, problems = dict(pairing.labels), dict(pairing.doubtful), []
    for label, images in shared.items():
        fits = all(are_alike(folder / images[0], folder / image) for image in images[1:])
        for image in images:
            others = ", ".join(each for each in images if each != image)
            if fits:
                problems.append(Problem("label_shared", image, f"{label} is the label file of {others} too"))
            else:
                doubtful[image] = (f"{labels.pop(image)}, as does {others}, which shows something else",)
    return Pairing(labels, doubtful, pairing.left), problems


def _details(folder: Path, chosen: Mapping[str, str], lists: ClassLists) -> dict[str, bytes]:
    """Returns the values of `Entry.detail`: the list of class names, and the meaning of more than four numbers.

    Raises:
      DatasetError: boxes are given by their corners, or the classes are ambiguous
        because of a blank line in a list of class names.
    """
    groups: dict[tuple[str, tuple[int, int] | None], list[str]] = defaultdict(list)
    for label, path in chosen.items():
        groups[path, lists.keypoints(label)].append(label)
    details = {}
    for (path, keypoints), labels in groups.items():
        if path and lists.lists[path].blanks:
            check_blanks(path, lists.lists[path], _used_classes(folder, labels))
        step = max(1, len(labels) // _PROBED_FILES)
        survey = yolo_lines.surveyed(_lines_of(folder, labels[::step]))
        if survey.has_corners:
            raise DatasetError(
                f"Expected boxes as center, width and height, as YOLO has them. The lines of {labels[0]} and more look "
                "like corners (left, top, right, bottom): many boxes would extend beyond their images. Convert them to "
                "x_center y_center width height, each divided by the image's width or height."
            )
        note = {"list": path, "keypoints": keypoints, "outlines": survey.has_outlines}
        detail = json.dumps(note, separators=(",", ":")).encode()
        details.update(dict.fromkeys(labels, detail))
    return details


def _box(points: Sequence[float], *, is_outline: bool) -> tuple[float, float, float, float]:
    if is_outline:
        return min(points[1::2]), min(points[::2]), max(points[1::2]), max(points[::2])
    x, y, width, height = points
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2


def _used_classes(folder: Path, labels: Iterable[str]) -> dict[int, str]:
    """Returns {class index: the first label file that uses it}."""
    used: dict[int, str] = {}
    for path in labels:
        for line in _lines_of(folder, [path]):
            if yolo_lines.LABEL_LINE.fullmatch(line):
                used.setdefault(int(line.split()[0].partition(".")[0]), path)
    return used


def _numbered(folder: Path, labels: Iterable[str]) -> dict[int, str]:
    """Returns a name for each class index in use, if no list names them: the index itself.

    Ids start at 1, indices at 0.
    """
    return {index + 1: str(index) for index in sorted(_used_classes(folder, sorted(labels))) if index < 10**6}


def _names(folder: Path, path: str) -> Mapping[int, str] | None:
    """Returns the class names of a list; None if classes have only numbers."""
    description = _description_files(folder / path, (folder / path).stat().st_mtime_ns) if path else None
    return description.names if description is not None else None


@functools.lru_cache(maxsize=64)
def _description_files(path: Path, changed: int) -> DatasetDescription | None:
    """Returns the description in a file; cached in each process until the file changes."""
    return read_description(path)


def _lines_of(folder: Path, paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        try:
            yield from _lines(folder / path)
        except (DatasetError, OSError):
            continue  # Reading its entry reports it.


def _lines(path: Path) -> list[str]:
    return read_text(path, max_bytes=_MAX_LABEL_BYTES).text.splitlines()


def _looks_like_labels(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            text = decode_text(file.read(4096)).text
    except (DatasetError, OSError):
        return False
    first = next((line for line in text.splitlines() if line.strip()), "")
    return yolo_lines.LABEL_LINE.fullmatch(first) is not None


def _stem(path: str) -> str:
    return PurePosixPath(path).stem.lower()
