"""YOLO: beside each photo, or in a sister folder labels, a text with one object a line, in shares of the photo."""

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfrmod import masks as mask_pictures
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources import yolo_sets
from tfrmod.sources.files import Files, found_files
from tfrmod.sources.photo_size import upright_size
from tfrmod.sources.source import Entry, Listing, Reading
from tfrmod.sources.yolo_papers import Papers, find_papers, read_papers

_MAX_LABEL_BYTES = 16 << 20
_MAX_DIGITS = 6  # Of a class number.
_PROBED_FILES = 200
_LINE = re.compile(r"\d+(\.0*)?(\s+[-+]?[\d.]+([eE][-+]?\d+)?){4,}\s*")
_PHOTO_FOLDER = re.compile(r"(jpeg)?images?|imgs?|photos", re.IGNORECASE)
_LABEL_FOLDER = "labels"
# Shares may miss the edge by rounding and are clipped; beyond this they are something else, such as pixels.
_FARTHEST = 0.5


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether a text that bears a photo's name has lines of a class and four or more numbers."""
    stems = {_stem(photo) for photo in files.photos}
    candidates = [path for path in files.txt if _stem(path) in stems]
    return any(_looks_like_labels(folder / path) for path in candidates[:_PROBED_FILES])


def listing(folder: Path) -> Listing:
    """Returns the photos, those without a label file as photos without objects, and the sets that are named.

    Raises:
      DatasetError: no photo, or no label file that belongs to one.
    """
    files = found_files(folder)
    papers_path, papers, problems = find_papers(folder, files)
    labels = _paired(files.photos, [path for path in files.txt if path != papers_path])
    if not labels:
        raise DatasetError(
            f"Expected photos in {folder} with YOLO labels, a text of the same name beside each or in a sister folder "
            f"labels, and found {len(files.photos)} photos and {len(files.txt)} texts, none of which belong together."
        )
    problems += [Problem("image_unlabelled", photo) for photo in files.photos if photo not in labels]
    used = set(labels.values())
    for path in files.txt:
        if path not in used and path != papers_path and _looks_like_labels(folder / path):
            problems.append(Problem("annotation_without_image", path))
    detail = papers_path.encode("utf-8", "surrogateescape")
    entries = tuple(Entry(photo, labels.get(photo, ""), detail) for photo in files.photos)
    sets, set_problems = yolo_sets.read_sets(folder, files, papers or Papers({}), papers_path, entries)
    names = papers.names if papers is not None else _numbered(folder, used)
    label_map = _label_map(names, papers_path, problems)
    return Listing(
        entries=entries,
        problems=tuple(problems),
        sets=sets,
        set_problems=set_problems,
        label_map=label_map,
    )


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns what the label file of one photo says; boxes in pixels of the upright photo."""
    path = folder / entry.image
    height, width = upright_size(path)
    claim = AnnotatedImage(filename=entry.image, height=height, width=width, path=path)
    if not entry.annotation or not height:
        return Reading(claim)
    try:
        papers = _papers(folder, entry.detail.decode("utf-8", "surrogateescape"))
        lines = _lines(folder / entry.annotation)
    except (DatasetError, OSError) as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    objects, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            name, shares, is_outline = _parsed(line, papers)
        except DatasetError as error:
            problems.append(Problem("object_unreadable", entry.annotation, f"line {number}: {error}"))
            continue
        points = [share * side for share, side in zip(shares, (width, height) * (len(shares) // 2), strict=True)]
        thing = AnnotatedObject(name, _box(points, is_outline=is_outline))
        if masks and is_outline:
            thing = thing._replace(mask=mask_pictures.polygons_png([points], height, width))
        objects.append(thing)
    return Reading(
        AnnotatedImage(filename=entry.image, objects=tuple(objects), height=height, width=width, path=path),
        tuple(problems),
    )


def _paired(photos: Sequence[str], texts: Iterable[str]) -> dict[str, str]:
    """Returns {photo: its label file}: in the sister folder, beside it, or the only one of its name."""
    by_path = {_without_extension(path).lower(): path for path in texts}
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in by_path.values():
        by_stem[_stem(path)].append(path)
    labels: dict[str, str] = {}
    rivals: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        found = next((by_path[place] for place in _label_places(photo) if place in by_path), None)
        if found is not None:
            labels[photo] = found
        elif by_stem.get(_stem(photo)):
            rivals[_stem(photo)].append(photo)
    taken = set(labels.values())
    for stem, alike in rivals.items():
        free = [path for path in by_stem[stem] if path not in taken]
        if len(alike) == len(free) == 1:
            labels[alike[0]] = free[0]
    return labels


def _label_places(photo: str) -> list[str]:
    """Returns where the labels of a photo may lie, without extension: images/… becomes labels/…, or beside it."""
    parts = PurePosixPath(_without_extension(photo)).parts
    places = [
        "/".join((*parts[:index], _LABEL_FOLDER, *parts[index + 1 :]))
        for index in range(len(parts) - 2, -1, -1)
        if _PHOTO_FOLDER.fullmatch(parts[index])
    ]
    return [place.lower() for place in (*places, "/".join(parts), "/".join((*parts[:-1], _LABEL_FOLDER, parts[-1])))]


def _parsed(line: str, papers: Papers | None) -> tuple[str, list[float], bool]:
    """Returns the class, the numbers (x, y, …; of a box its centre and size), and whether they are an outline."""
    try:
        index, *numbers = map(float, line.split())
    except ValueError:
        raise DatasetError(f"{line.strip()!r:.60} is no class and numbers") from None
    if not index.is_integer() or not 0 <= index < 10**_MAX_DIGITS:
        raise DatasetError(f"the class {index:g} is no number from 0")
    name = str(int(index)) if papers is None else papers.names.get(int(index))
    if name is None:
        raise DatasetError(f"the class {index:g} has no name; {len(papers.names) if papers else 0} classes have one")
    is_outline = len(numbers) >= 6 and len(numbers) % 2 == 0 and not (papers and papers.has_keypoints)
    if not is_outline and (len(numbers) < 4 or (len(numbers) > 4 and not (papers and papers.has_keypoints))):
        raise DatasetError(f"{len(numbers)} numbers behind the class, where a box has 4 and an outline an even number")
    shares = numbers if is_outline else numbers[:4]
    if not all(-_FARTHEST <= share <= 1 + _FARTHEST for share in shares):
        raise DatasetError(f"{name}: {line.strip():.60} are no shares of the photo, from 0 to 1")
    return name, shares, is_outline


def _box(points: Sequence[float], *, is_outline: bool) -> tuple[float, float, float, float]:
    if is_outline:
        return min(points[1::2]), min(points[::2]), max(points[1::2]), max(points[::2])
    x, y, width, height = points
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2


def _label_map(names: Mapping[int, str], path: str, problems: list[Problem]) -> dict[int, str] | None:
    """Returns the classes numbered from 1 in the order of YOLO's numbers from 0."""
    first: dict[str, int] = {}
    for index, name in sorted(names.items()):
        if first.setdefault(name, index + 1) != index + 1:
            message = f"{name!r} is {first[name] - 1} and {index}; took the first"
            problems.append(Problem("label_ids_changed", path, message))
    return {class_id: name for name, class_id in first.items()} or None


def _numbered(folder: Path, labels: Iterable[str]) -> dict[int, str]:
    """Returns a name for every class number met, where no paper names them: the number itself."""
    met: set[str] = set()
    for path in sorted(labels):
        try:
            met.update(line.split()[0].partition(".")[0] for line in _lines(folder / path) if _LINE.fullmatch(line))
        except (DatasetError, OSError):
            continue  # Its entry will say so.
    return {int(index): str(int(index)) for index in met if len(index) <= _MAX_DIGITS}


def _papers(folder: Path, path: str) -> Papers | None:
    return _papers_at(folder / path, (folder / path).stat().st_mtime_ns) if path else None


@functools.lru_cache(maxsize=16)
def _papers_at(path: Path, changed: int) -> Papers | None:
    """Reads a paper once in each process and for each change."""
    return read_papers(path)


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > _MAX_LABEL_BYTES:
        raise DatasetError(f"more than {_MAX_LABEL_BYTES >> 20} MiB")
    return path.read_text(encoding="utf-8-sig", errors="replace").splitlines()


def _looks_like_labels(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = next((line for line in file.read(4096).splitlines() if line.strip()), "")
    except OSError:
        return False
    return _LINE.fullmatch(first) is not None


def _stem(path: str) -> str:
    return PurePosixPath(path).stem.lower()


def _without_extension(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
