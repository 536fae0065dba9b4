"""Text files that define splits: ImageSets/Main, train.txt at the top or next to the annotations, cat_train.txt."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.pairing import Names
from tfrmod.problems import Problem
from tfrmod.sources.source import Entry
from tfrmod.sources.split_names import SET_WORDS, grouped
from tfrmod.text import read_text

_IMAGE_SETS, _MAIN = "imagesets", "main"
# Lists of other tasks on the same images.
_OTHER_TASKS = ("layout", "action", "segmentation")
# cat_train, train2017, train_list: with a class as prefix, or a year or the word list as suffix.
_LIST_NAME = re.compile(
    rf"(?P<class>.+[_-])?(?P<set>{'|'.join(SET_WORDS)})[_-]?(\d{{4}})?([_-]?(lists?|ids?|set|images|files|names))?",
    re.IGNORECASE,
)
_PROBED_LINES = 50
_MOST_COLUMNS = 8


class Lists(NamedTuple):
    """Content of some lists."""

    sets: dict[str, tuple[int, ...]]
    """Indices of images, by the name of the set."""
    problems: dict[str, tuple[Problem, ...]]
    """Names in each set without a matching image."""
    origins: dict[str, str]
    """The first file of each set."""


class _Finder:
    """Finds the entries below one folder for a line of a list."""

    def __init__(self, entries: Sequence[Entry], root: PurePosixPath) -> None:
        within = [index for index, entry in enumerate(entries) if root in PurePosixPath(entry.image).parents]
        self._positions = {entries[index].image: index for index in within}
        self._images = Names(self._positions)
        by_annotation: dict[str, list[int]] = defaultdict(list)
        for index in within:
            by_annotation[entries[index].annotation].append(index)
        # A file with annotations of many images identifies none of them.
        self._annotated = {name: found[0] for name, found in by_annotation.items() if name and len(found) == 1}
        self._annotations = Names(self._annotated)

    def find(self, line: str, near: str) -> list[int]:
        """Returns the indices of the images that a line, or its part before further columns, may name."""
        for text in _readings(line):
            found = [self._positions[path] for path in self._images.find(text, near=near)]
            found = found or [self._annotated[path] for path in self._annotations.find(text, near=near)]
            if found:
                return found
        return []


def image_sets(folder: Path, texts: Sequence[str], entries: Sequence[Entry]) -> Lists:
    """Returns the lists of Pascal VOC's ImageSets/Main; lists of several years are merged.

    Each names images below the folder of its ImageSets. Lists of one class
    (cat_train) are used if there is no list of all classes (train).
    """
    main = [path for path in map(PurePosixPath, texts) if _is_of_main(path)]
    by_root: dict[PurePosixPath, dict[str, str]] = defaultdict(dict)
    for path in main:
        by_root[path.parents[2]][path.as_posix()] = path.stem
    for lists in by_root.values():
        stems = set(lists.values())
        for name, stem in list(lists.items()):
            of_class = _class_set(stem)
            if of_class and of_class not in stems:
                lists[name] = of_class
            elif of_class:
                del lists[name]
    return _read(folder, entries, by_root)


def other_lists(folder: Path, texts: Sequence[str], entries: Sequence[Entry]) -> Lists:
    """Returns the lists outside ImageSets/Main that have names of sets and whose lines name images."""
    finder = _Finder(entries, PurePosixPath())
    found: dict[str, str] = {}
    for path in texts:
        name = _set_of_list(PurePosixPath(path))
        if name and _names_images(folder, path, finder):
            found[path] = name
    of_class = {path for path in found if _class_set(PurePosixPath(path).stem)}
    whole = {name for path, name in found.items() if path not in of_class}
    found = {path: name for path, name in found.items() if path not in of_class or name not in whole}
    return _read(folder, entries, {PurePosixPath(): found})


def _read(folder: Path, entries: Sequence[Entry], by_root: Mapping[PurePosixPath, Mapping[str, str]]) -> Lists:
    members: list[tuple[str | None, int]] = []
    problems: dict[str, list[Problem]] = defaultdict(list)
    origins: dict[str, str] = {}
    for root, lists in by_root.items():
        finder = _Finder(entries, root)
        for path, name in lists.items():
            origins.setdefault(name, path)
            try:
                for line, found in _lines(folder, path, finder):
                    if len(found) == 1:
                        members.append((name, found[0]))
                    else:
                        fits = f"{line} fits {', '.join(entries[index].image for index in found)}" if found else line
                        problems[name].append(Problem("set_lists_unknown", path, fits))
            except (DatasetError, OSError) as error:
                problems[name].append(Problem("set_lists_unknown", path, str(error)))
    return Lists(grouped(members), {name: tuple(found) for name, found in problems.items()}, origins)


def _lines(folder: Path, path: str, finder: _Finder) -> Iterator[tuple[str, list[int]]]:
    for line in read_text(folder / path).text.splitlines():
        if line.strip():
            yield line.strip(), finder.find(line, path)


def _readings(line: str) -> Iterator[str]:
    """Yields possible names at the beginning of a line, longest first: names may have spaces, columns may follow."""
    text = line.strip()
    yield text
    for separator in ("\t", ","):
        if separator in text:
            yield text.partition(separator)[0].strip()
    words = text.split(" ")
    for count in range(len(words) - 1, 0, -1):
        if len(words) - count < _MOST_COLUMNS or count == 1:
            yield " ".join(words[:count]).strip()


def _is_of_main(path: PurePosixPath) -> bool:
    folders = [part.lower() for part in path.parts[:-1]]
    return folders[-2:] == [_IMAGE_SETS, _MAIN]


def _set_of_list(path: PurePosixPath) -> str | None:
    if _is_of_main(path) or path.parent.name.lower() in _OTHER_TASKS:
        return None
    match = _LIST_NAME.fullmatch(path.stem)
    return SET_WORDS.get(match.group("set").lower()) if match else None


def _class_set(stem: str) -> str | None:
    """Returns the set of a list of one class: val for cat_val."""
    match = _LIST_NAME.fullmatch(stem)
    return SET_WORDS.get(match.group("set").lower()) if match and match.group("class") else None


def _names_images(folder: Path, path: str, finder: _Finder) -> bool:
    """Returns whether half of the first lines of a text name images."""
    try:
        lines = [line for line in read_text(folder / path).text.splitlines() if line.strip()][:_PROBED_LINES]
    except (DatasetError, OSError):
        return False
    return bool(lines) and 2 * sum(bool(finder.find(line, path)) for line in lines) >= len(lines)
