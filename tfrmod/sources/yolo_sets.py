"""Which photos a YOLO data set trains and validates on: folders and lists that data.yaml names, or folder names."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources.files import Files, Names
from tfrmod.sources.set_names import grouped, sets_by_folder
from tfrmod.sources.source import Entry
from tfrmod.sources.yolo_papers import Papers, list_lines

Sets = dict[str, tuple[int, ...]]
SetProblems = dict[str, tuple[Problem, ...]]


def read_sets(
    folder: Path, files: Files, described: Mapping[str, Papers], entries: tuple[Entry, ...]
) -> tuple[Sets, SetProblems, list[Problem]]:
    """Returns each set as positions in `entries`, what its lists name in vain, and why lists are not followed at all.

    The paths in such papers are often those of another machine, or count from
    another folder; the longest end of each that fits is believed. What is named
    for training and for validation alike divides nothing and is not a set.

    Args:
      folder: of the data set.
      files: of it.
      described: what each file that names sets says, by its path.
      entries: of the listing.
    """
    images = Names(entry.image for entry in entries)
    positions = {entry.image: index for index, entry in enumerate(entries)}
    members: list[tuple[str | None, int]] = []
    problems: dict[str, list[Problem]] = defaultdict(list)
    for path, papers in described.items():
        for name, places in papers.sets.items():
            for place in places:
                named, unknown = _photos_of(place, folder, files, images, path)
                members += [(name, positions[image]) for image in named]
                problems[name] += unknown
    sets = grouped(members)
    if len(set(sets.values())) < 2:
        by_folder = sets_by_folder(entries)
        in_vain = [each for found in problems.values() for each in found if each.file not in described]
        missing = {
            name: tuple(each for each in found if each.file in described)
            for name, found in problems.items()
            if name not in by_folder
        }
        return by_folder, missing, in_vain
    return sets, {name: tuple(found) for name, found in problems.items()}, []


def _photos_of(
    place: str, folder: Path, files: Files, photos: Names, papers_path: str
) -> tuple[list[str], list[Problem]]:
    """Returns the photos of a folder, of a list, or the one photo, that a place names."""
    parts = [part for part in PurePosixPath(place.replace("\\", "/")).parts if part not in ("..", ".", "/")]
    for end in ("/".join(parts[index:]) for index in range(len(parts))):
        for top in dict.fromkeys((PurePosixPath(papers_path).parent, PurePosixPath())):
            path = str(top / end)
            within = [photo for photo in photos.paths if photo.startswith(f"{path}/")]
            if within:
                return within, []
            if path in files.txt:
                return _listed(folder, path, photos)
            if path in photos.paths:
                return [path], []
    return [], [Problem("set_lists_unknown", papers_path, place)]


def _listed(folder: Path, path: str, photos: Names) -> tuple[list[str], list[Problem]]:
    try:
        lines, unknown = list_lines(folder / path)
    except (DatasetError, OSError) as error:
        return [], [Problem("annotation_malformed", path, str(error))]
    named = []
    for line in lines:
        found = photos.find(line, near=path)
        if len(found) == 1:
            named += found
        else:
            doubt = f" fits {', '.join(found[:3])}" if found else ""
            unknown.append(Problem("set_lists_unknown", path, f"{line}{doubt}"))
    return named, unknown
