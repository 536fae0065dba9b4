"""COCO: JSON files that list images, classes and objects of many images.

Such files may have hundreds of megabytes. Listing reads them once, piece by
piece, and keeps for each image only the positions of its objects in the file;
reading an entry seeks to these positions.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.pairing import images_of
from tfrmod.problems import MAX_OBJECTS, Problem
from tfrmod.sources import coco_objects
from tfrmod.sources.coco_file import CocoFile, ListedImage, label_map, read_file
from tfrmod.sources.coco_objects import detail, identity
from tfrmod.sources.files import Files, Names, list_files
from tfrmod.sources.json_stream import Place, num_packed, packed, parsed, read_places, unpacked
from tfrmod.sources.recognition import json_files, loose_coco_files, unread_exports
from tfrmod.sources.source import Entry, Listing
from tfrmod.sources.split_names import in_order, set_of_path

# Files of other tasks on the same images.
_OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "stuff", "densepose", "lvis_")

read = coco_objects.read


@dataclass
class _Annotated:
    """An image and its objects in one file."""

    file: CocoFile
    place: Place
    """Position of the image's own element."""
    objects: bytes
    """Packed positions."""
    digest: int | None
    """See `CocoFile.digests`; None if the objects of several entries were merged."""
    is_id_unique: bool


@dataclass
class _Images:
    """The images of all files."""

    by_path: dict[str, _Annotated] = field(default_factory=dict)
    members: list[tuple[str | None, str]] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether any JSON file has COCO's lists."""
    return bool(json_files(folder, files, "coco"))


def listing(folder: Path) -> Listing:
    """Returns the images in COCO files, with the classes and sets of those files.

    Several files are several sets (instances_train2017, valid/_annotations). An
    image in several files belongs to the set of each; if their objects differ,
    it is left out.

    Raises:
      DatasetError: there is no COCO file, none is readable, or none has a usable image.
    """
    files = list_files(folder)
    paths = _chosen(json_files(folder, files, "coco") or loose_coco_files(folder, files))
    if not paths:
        raise DatasetError(
            f"Expected a COCO file in {folder}, a JSON object with the lists images, annotations and categories, and "
            f"found none among {len(files.json)} JSON files. {unread_exports(folder, files)}".rstrip()
        )
    contents, problems = [], []
    for path in paths:
        try:
            contents.append(read_file(folder, path))
        except (DatasetError, OSError) as error:
            problems.append(Problem("annotation_malformed", path, str(error)))
    contents = _with_truth(contents)
    problems += [problem for content in contents for problem in content.counted()]
    names = Names([*files.images, *files.others])
    found = _images(folder, contents, names, problems)
    if not found.by_path:
        listed = sum(len(images) for content in contents for images in content.images.values())
        raise DatasetError(
            f"Of {counted(listed, 'image')} in {_some(paths)}, none can be used: {folder} has "
            f"{counted(len(files.images), 'image')}. {_example(problems)}".rstrip()
        )
    unlisted = [image for image in files.images if image not in found.by_path and image not in found.left_out]
    problems += [Problem("image_without_annotation", image) for image in unlisted]
    entries = {
        image: Entry(
            image,
            one.file.path,
            detail(one.file.categories, one.place, one.objects, is_id_unique=one.is_id_unique),
        )
        for image, one in found.by_path.items()
    }
    classes = label_map(contents, problems)
    ordered, sets = in_order(entries, ((name, image) for name, image in found.members if image in entries))
    return Listing(
        entries=ordered,
        problems=tuple(problems),
        sets=sets,
        label_map=classes,
        is_unlabelled=not any(content.objects for content in contents),
    )


def _chosen(paths: Sequence[str]) -> list[str]:
    """Returns the files about objects; those of other tasks are left out if there are any about objects."""
    about_objects = [path for path in paths if not PurePosixPath(path).name.lower().startswith(_OTHER_TASKS)]
    return about_objects or list(paths)


def _with_truth(contents: list[CocoFile]) -> list[CocoFile]:
    """Returns the files without those of test or unlabelled images, if other files have objects.

    COCO's image_info_* do not state the objects of an image. Mixed with the
    others, their images would be trained as empty.
    """
    if not any(content.objects for content in contents):
        return contents
    return [content for content in contents if content.objects or not _is_info(content.path)]


def _is_info(path: str) -> bool:
    return PurePosixPath(path).name.lower().startswith("image_info") or set_of_path(path) == "test"


def _images(folder: Path, contents: Sequence[CocoFile], names: Names, problems: list[Problem]) -> _Images:
    """Returns the images that exist, with the annotations on which the files agree."""
    found = _Images()
    counts = Counter(image_id for content in contents for image_id in content.images)
    shared_ids = {image_id for image_id, count in counts.items() if count > 1}
    for content in contents:
        set_name = set_of_path(content.path)
        listed = _unshared(content, problems)
        images = images_of(
            (image.name for image in listed.values()),
            names,
            annotation=content.path,
            hint=set_name or "",
            problems=problems,
        )
        ids_by_path: dict[str, list[str]] = defaultdict(list)
        for image_id, image in listed.items():
            if image.name in images:
                ids_by_path[images[image.name]].append(image_id)
        for path, ids in ids_by_path.items():
            found.members.append((set_name, path))
            annotated = _annotated(folder, content, path, ids, problems)
            annotated.is_id_unique = ids[0] not in shared_ids
            if num_packed(annotated.objects) > MAX_OBJECTS:
                message = f"{num_packed(annotated.objects):,} in {content.path}, where {MAX_OBJECTS:,} are the most"
                problems.append(Problem("too_many_objects", path, message))
                found.left_out.add(path)
            first = found.by_path.setdefault(path, annotated)
            if first is not annotated and not _agree(folder, first, annotated):
                problems.append(Problem("annotations_disagree", path, f"{first.file.path} and {content.path}"))
                found.left_out.add(path)
    for path in found.left_out:
        del found.by_path[path]
    return found


def _unshared(content: CocoFile, problems: list[Problem]) -> dict[str, ListedImage]:
    """Returns the images with a unique id.

    An id that is listed twice, even with one name, often belongs to two images
    of which one lost its name; their objects would be mixed.
    """
    for image_id, images in content.images.items():
        if len(images) > 1:
            for name in dict.fromkeys(image.name for image in images):
                message = f"{content.path} lists the id {image_id:.60} {len(images)} times"
                problems.append(Problem("image_id_shared", name, message))
    return {image_id: images[0] for image_id, images in content.images.items() if len(images) == 1}


def _annotated(folder: Path, content: CocoFile, path: str, ids: Sequence[str], problems: list[Problem]) -> _Annotated:
    """Returns an image with the objects of all its ids in one file; equal ones count once."""
    first, *others = ids
    [listed] = content.images[first]
    objects = bytes(content.objects.get(first, b""))
    if not others:
        return _Annotated(content, listed.place, objects, content.digests.get(first, 0), True)
    known = Counter(_keys(folder, content, objects))
    num_equal = 0
    for image_id in others:
        more = bytes(content.objects.get(image_id, b""))
        own: Counter[Any] = Counter()
        for place, key in zip(unpacked(more), _keys(folder, content, more), strict=True):
            own[key] += 1
            if own[key] <= known[key]:
                num_equal += 1
            else:
                objects += packed([place])
        known |= own
    message = f"{content.path} lists it with the ids {', '.join(ids[:5])}; there twice: {counted(num_equal, 'object')}"
    problems.append(Problem("annotations_merged", path, message))
    return _Annotated(content, listed.place, objects, None, True)


def _agree(folder: Path, one: _Annotated, other: _Annotated) -> bool:
    """Returns whether two files have the same classes and boxes for an image."""
    is_same = one.digest is not None and one.digest == other.digest and len(one.objects) == len(other.objects)
    if is_same and one.file.categories.names == other.file.categories.names:
        return True
    return Counter(_keys(folder, one.file, one.objects)) == Counter(_keys(folder, other.file, other.objects))


def _keys(folder: Path, content: CocoFile, objects: bytes) -> list[Any]:
    """Returns the class and the box of each object, as comparable values."""
    keys = []
    for data in read_places(folder / content.path, unpacked(objects)):
        value = parsed(data)
        category_id = identity(value.get("category_id")) or ""
        box = value.get("bbox")
        sides = tuple(box) if isinstance(box, list) and all(isinstance(side, int | float) for side in box) else None
        outline = "" if sides else str(value.get("segmentation"))
        keys.append((content.categories.names.get(category_id, category_id), sides, outline))
    return keys


def _some(paths: Iterable[str]) -> str:
    first, *others = paths
    return f"{first} and {len(others)} more" if others else first


def _example(problems: Sequence[Problem]) -> str:
    if not problems:
        return ""
    of_images = (problem for problem in problems if problem.code not in ("class_unreadable", "object_unreadable"))
    code, file, message = next(of_images, problems[0])
    return f"For example {file}: {message or code}."
