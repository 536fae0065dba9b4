"""ImageSets/Main: the lists of a VOC data set that say which photo is for training and which for the test."""

from collections import defaultdict
from collections.abc import Container, Sequence
from pathlib import Path, PurePosixPath

from tfrmod.checks import Problem
from tfrmod.sources.source import Entry


def read_sets(
    folder: Path, text_files: Sequence[str], entries: Sequence[Entry]
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[Problem, ...]]]:
    """Returns each list as positions in `entries`, and what each names in vain.

    Lists of several years are merged. Names are looked for below the folder
    that holds their ImageSets, as stems or as file names. A list of which
    nothing is there counts as absent.
    """
    members: dict[str, set[int]] = defaultdict(set)
    unknown: dict[str, list[Problem]] = defaultdict(list)
    lists = [path for path in map(PurePosixPath, text_files) if _is_set_list(path)]
    positions = {root: _positions(root, entries) for root in {path.parents[2] for path in lists}}
    for path in lists:
        known = positions[path.parents[2]]
        for name in names_in_list(folder / path, known):
            if name in known:
                members[path.stem].add(known[name])
            else:
                unknown[path.stem].append(Problem("set_lists_unknown", path.as_posix(), name))
    sets = {name: tuple(sorted(indices)) for name, indices in members.items()}
    return sets, {name: tuple(problems) for name, problems in unknown.items()}


def _is_set_list(path: PurePosixPath) -> bool:
    return len(path.parts) >= 3 and path.parent.name.lower() == "main" and path.parents[1].name.lower() == "imagesets"


def _positions(root: PurePosixPath, entries: Sequence[Entry]) -> dict[str, int]:
    positions: dict[str, int] = {}
    for index, entry in enumerate(entries):
        photo = PurePosixPath(entry.image)
        if root == PurePosixPath(".") or root in photo.parents:
            for name in (photo.name, photo.stem, PurePosixPath(entry.annotation).stem):
                positions.setdefault(name, index)
    return positions


def names_in_list(path: Path, known: Container[str] = ()) -> list[str]:
    """Returns the photos that one list names, in its order; of the `known` ones, those whose names end as a column."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return [name for line in lines if (name := _named(line, known))]


def _named(line: str, known: Container[str]) -> str:
    """Returns the photo's name without folders; a name may hold blanks, a second column is -1, 0 or 1."""
    whole = _without_folders(line)
    name, _, last = whole.rpartition(" ")
    has_column = name and last in ("-1", "0", "1") and whole not in known
    return name.strip() if has_column else whole


def _without_folders(line: str) -> str:
    return PurePosixPath(line.strip().replace("\\", "/")).name
