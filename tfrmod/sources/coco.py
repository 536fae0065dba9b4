"""COCO: JSON files that list photos, classes and objects for many photos at once.

Such files have hundreds of megabytes. Listing reads them once, piece by piece,
and keeps of every photo only where in the file it is spoken of; reading an
entry goes back to those places.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources import coco_objects
from tfrmod.sources.coco_objects import Categories, detail, identity, read_categories
from tfrmod.sources.files import Files, Names, found_files
from tfrmod.sources.json_pieces import pieces
from tfrmod.sources.places import Place, packed
from tfrmod.sources.set_names import in_order, set_of_path
from tfrmod.sources.source import Entry, Listing

_PROBED_BYTES = 1 << 16
_LISTS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
# Files of other tasks on the same photos.
_OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "stuff", "densepose", "lvis_")

read = coco_objects.read


class _Photo(NamedTuple):
    """One entry of the list of images."""

    name: str
    place: Place


@dataclass
class _File:
    """What one JSON file says, but for the objects themselves."""

    path: str
    photos: dict[str, list[_Photo]] = field(default_factory=lambda: defaultdict(list))
    objects: dict[str, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    """Packed places of the annotations, by the id of their photo."""
    categories: Categories = field(default_factory=Categories)
    used: Counter[str] = field(default_factory=Counter)
    """Annotations of each category id."""
    problems: list[Problem] = field(default_factory=list)


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether any JSON file has COCO's lists."""
    return any(_looks_like_coco(folder / path) for path in files.json)


def listing(folder: Path) -> Listing:
    """Returns the photos that COCO files list, with the classes and sets of those files.

    Several files are several sets (instances_train2017, valid/_annotations).
    A photo that several files list belongs to the set of each; its objects are
    those of the first.

    Raises:
      DatasetError: no COCO file, none that can be read, or no photo of any.
    """
    files = found_files(folder)
    paths = _chosen([path for path in files.json if _looks_like_coco(folder / path)])
    if not paths:
        raise DatasetError(
            f"Expected a COCO file in {folder}, a JSON object with the lists images, annotations and categories, and "
            f"found none among {len(files.json)} JSON files."
        )
    contents, problems = [], []
    for path in paths:
        try:
            contents.append(_content(folder, path))
        except (DatasetError, OSError) as error:
            problems.append(Problem("annotation_malformed", path, str(error)))
    contents = _with_truth(contents)
    problems += [problem for content in contents for problem in content.problems]
    names = Names([*files.photos, *files.others])
    entries, members = _entries(contents, names, problems)
    if not entries:
        listed = sum(len(photos) for content in contents for photos in content.photos.values())
        raise DatasetError(
            f"None of the {listed} photos that {', '.join(paths)} list can be used: {len(files.photos)} photos lie in "
            f"{folder}. {_example(problems)}"
        )
    problems += [Problem("image_without_annotation", photo) for photo in files.photos if photo not in entries]
    label_map = _label_map(contents, problems)
    ordered, sets = in_order(entries, members)
    return Listing(
        entries=ordered,
        problems=tuple(problems),
        sets=sets,
        label_map=label_map,
        is_unlabelled=not any(content.objects for content in contents),
    )


def _looks_like_coco(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_PROBED_BYTES)
            file.seek(max(0, path.stat().st_size - _PROBED_BYTES))
            tail = file.read()
    except OSError:
        return False
    # Not \b: the object may begin behind a byte order mark.
    return b"{" in head[:64] and (_LISTS.search(head) or _LISTS.search(tail)) is not None


def _chosen(paths: Sequence[str]) -> list[str]:
    """Returns the files about objects, those of other tasks left out where there are any about objects."""
    about_objects = [path for path in paths if not PurePosixPath(path).name.lower().startswith(_OTHER_TASKS)]
    return about_objects or list(paths)


def _with_truth(contents: list[_File]) -> list[_File]:
    """Returns the files but for those that list photos to test on, or unlabelled ones, beside files with objects.

    COCO's image_info_* say of no photo what is on it. Mixed with the others,
    their photos would be taught to be empty.
    """
    if not any(content.objects for content in contents):
        return contents
    return [content for content in contents if content.objects or not _is_info(content.path)]


def _is_info(path: str) -> bool:
    return PurePosixPath(path).name.lower().startswith("image_info") or set_of_path(path) == "test"


def _content(folder: Path, path: str) -> _File:
    """Reads one file through.

    Raises:
      DatasetError: it is no COCO file.
    """
    file = _File(path)
    categories: list[tuple[Any, Place]] = []
    has_images = False
    for key, value, start, num_bytes in pieces(folder / path):
        place = Place(start, num_bytes)
        if key == "images":
            has_images = True
            _add_photo(file, value, place)
        elif key == "annotations":
            _add_object(file, value, place)
        elif key == "categories":
            categories.append((value, place))
    if not has_images:
        raise DatasetError("it lists no images")
    file.categories = read_categories(categories)
    file.problems += [Problem("class_unreadable", path, message) for message in file.categories.problems]
    for image_id in sorted(file.objects.keys() - file.photos.keys()):
        file.problems.append(Problem("annotation_without_image", path, f"objects of id {image_id}, which it lists not"))
    return file


def _add_photo(file: _File, value: Any, place: Place) -> None:
    image_id = identity(value.get("id")) if isinstance(value, dict) else None
    name = value.get("file_name") if isinstance(value, dict) else None
    if image_id is None or not isinstance(name, str) or not name.strip():
        message = f"an image without an id and a file_name, at byte {place.start}"
        file.problems.append(Problem("line_unreadable", file.path, message))
        return
    file.photos[image_id].append(_Photo(name, place))


def _add_object(file: _File, value: Any, place: Place) -> None:
    image_id = identity(value.get("image_id")) if isinstance(value, dict) else None
    if image_id is None:
        message = f"an annotation without an image_id, at byte {place.start}"
        file.problems.append(Problem("object_unreadable", file.path, message))
        return
    file.objects[image_id] += packed([place])
    file.used[str(identity(value.get("category_id")))] += 1


def _entries(
    contents: Sequence[_File], names: Names, problems: list[Problem]
) -> tuple[dict[str, Entry], list[tuple[str | None, str]]]:
    """Returns the entry of each photo that is there, and which photo each set has."""
    entries: dict[str, Entry] = {}
    members: list[tuple[str | None, str]] = []
    counts = Counter(image_id for content in contents for image_id in content.photos)
    shared_ids = {image_id for image_id, count in counts.items() if count > 1}
    for content in contents:
        set_name = set_of_path(content.path)
        for image_id, photo in _unshared(content, problems):
            found = names.find(photo.name, near=content.path, hint=set_name or "")
            if not found:
                problems.append(Problem("annotation_without_image", photo.name, f"listed in {content.path}"))
                continue
            if len(found) > 1:
                message = f"{photo.name} fits {', '.join(found)}; took {found[0]}"
                problems.append(Problem("image_ambiguous", content.path, message))
            objects = bytes(content.objects.get(image_id, b""))
            is_unique = image_id not in shared_ids
            note = detail(content.categories, photo.place, objects, is_id_unique=is_unique)
            entry = Entry(found[0], content.path, note)
            members.append((set_name, found[0]))
            first = entries.setdefault(found[0], entry)
            if first is not entry and (len(first.detail) != len(entry.detail) or first.annotation == entry.annotation):
                problems.append(Problem("annotation_twice", found[0], f"in {content.path}, id {image_id}"))
    return entries, members


def _unshared(content: _File, problems: list[Problem]) -> Iterator[tuple[str, _Photo]]:
    """Yields the photos whose id is theirs alone.

    An id that is listed twice, be it under one name, often stands for two
    photos of which one lost its name; their objects would be mixed.
    """
    for image_id, photos in content.photos.items():
        if len(photos) == 1:
            yield image_id, photos[0]
            continue
        for name in dict.fromkeys(photo.name for photo in photos):
            message = f"{content.path} lists the id {image_id} {len(photos)} times"
            problems.append(Problem("image_id_shared", name, message))


def _label_map(contents: Sequence[_File], problems: list[Problem]) -> dict[int, str] | None:
    """Returns the ids of the files, where they agree and are such as a record can hold (from 1)."""
    names: dict[int, str] = {}
    used: Counter[str] = Counter()
    for content in contents:
        used.update(content.used)
        for category_id, name in content.categories.names.items():
            number = int(category_id) if re.fullmatch(r"-?\d{1,9}", category_id) else -1
            if number < 0 or names.setdefault(number, name) != name:
                message = f"id {category_id} is {name!r} here, {names.get(number, 'no number')!r} elsewhere"
                problems.append(Problem("label_ids_changed", content.path, f"{message}; numbered alphabetically"))
                return None
    if 0 in names and not used["0"]:
        del names[0]  # Roboflow's name of the whole project.
    if 0 in names:
        problems.append(Problem("label_ids_changed", contents[0].path, "they begin with 0; 1 was added to each"))
        names = {number + 1: name for number, name in names.items()}
    return _without_doubles(names, contents[0].path, problems) or None


def _without_doubles(names: Mapping[int, str], path: str, problems: list[Problem]) -> dict[int, str]:
    first: dict[str, int] = {}
    for number, name in sorted(names.items()):
        if first.setdefault(name, number) != number:
            problems.append(
                Problem("label_ids_changed", path, f"{name!r} is {first[name]} and {number}; took the first")
            )
    return {number: name for name, number in first.items()}


def _example(problems: Sequence[Problem]) -> str:
    if not problems:
        return ""
    code, file, message = problems[0]
    return f"For example {file}: {message or code}."
