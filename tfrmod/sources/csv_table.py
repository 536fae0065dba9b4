"""CSV: a table with one box a row, TensorFlow's with a header or AutoML's without."""

import functools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources.csv_rows import Layout, Row, layout_of, row_at, rows
from tfrmod.sources.files import Files, Names, found_files
from tfrmod.sources.photo_size import upright_size
from tfrmod.sources.places import packed, read_places, unpacked
from tfrmod.sources.set_names import in_order, set_name, set_of_path
from tfrmod.sources.source import Entry, Listing, Reading

# Shares may pass the edge by rounding; a table is one of shares if nearly all of its coordinates are.
_MAX_SHARE = 1.01
_FARTHEST = 1.5
_NEARLY_ALL = 0.9


@dataclass
class _Table:
    """What one file says."""

    path: str
    places: dict[str, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    """{photo: packed places of its rows}."""
    sets: dict[str, set[str | None]] = field(default_factory=lambda: defaultdict(set))
    """{photo: the sets that its rows name}."""
    num_rows: int = 0
    num_corners: int = 0
    num_shares: int = 0
    """Corners whose coordinates may be shares of the photo."""

    @property
    def is_of_shares(self) -> bool:
        return self.num_shares >= _NEARLY_ALL * self.num_corners


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether any CSV is a table of boxes."""
    return any(layout_of(folder / path) for path in files.csv)


def listing(folder: Path) -> Listing:
    """Returns the photos that tables name, with the sets that a column or the tables' names give.

    Raises:
      DatasetError: no table of boxes, or no photo of any.
    """
    files = found_files(folder)
    names = Names([*files.photos, *files.others])
    problems: list[Problem] = []
    tables = []
    for path in files.csv:
        layout = layout_of(folder / path)
        if layout is not None:
            tables.append(_table(folder, path, layout, names, problems))
    if not tables:
        raise DatasetError(
            f"Expected a CSV table of boxes in {folder}: with a header (filename, width, height, class, xmin, ymin, "
            "xmax, ymax), or as AutoML has it (set, path, label, xmin, ymin, , , xmax, ymax, , ). Found none among "
            f"{len(files.csv)} CSV files."
        )
    entries: dict[str, Entry] = {}
    members = []
    for table in tables:
        for photo, places in table.places.items():
            entry = Entry(photo, table.path, bytes([table.is_of_shares]) + bytes(places))
            members += [(name or set_of_path(table.path), photo) for name in sorted(table.sets[photo], key=str)]
            if entries.setdefault(photo, entry) is not entry:
                problems.append(Problem("annotation_twice", photo, f"in {table.path}"))
    if not entries:
        raise DatasetError(
            f"None of the {sum(table.num_rows for table in tables)} rows of "
            f"{', '.join(table.path for table in tables)} names a photo that lies in {folder}, which holds "
            f"{len(files.photos)}."
        )
    problems += [Problem("image_without_annotation", photo) for photo in files.photos if photo not in entries]
    ordered, sets = in_order(entries, members)
    return Listing(
        entries=ordered,
        problems=tuple(problems),
        sets=sets,
    )


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns what the rows of one photo say; boxes in pixels, as they are written or from shares of the photo."""
    path = folder / entry.annotation
    try:
        layout = _layout(path, path.stat().st_mtime_ns)
        places = unpacked(entry.detail[1:])
        found = [row_at(data, place, layout) for data, place in zip(read_places(path, places), places, strict=True)]
    except (DatasetError, OSError) as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    image = AnnotatedImage(filename=entry.image, path=folder / entry.image)
    is_of_shares = bool(entry.detail[0])
    height, width = upright_size(folder / entry.image) if is_of_shares else _stated_size(found, layout)
    if is_of_shares and not height:
        return Reading(image)
    objects, problems = [], []
    for row in found:
        try:
            thing = _object(row, layout, (height, width) if is_of_shares else None)
        except DatasetError as error:
            place = row.place.start if row else 0
            problems.append(Problem("object_unreadable", entry.image, f"{entry.annotation}, byte {place}: {error}"))
            continue
        if thing is not None:
            objects.append(thing)
    return Reading(
        AnnotatedImage(
            filename=entry.image, objects=tuple(objects), height=height, width=width, path=folder / entry.image
        ),
        tuple(problems),
    )


def _table(folder: Path, path: str, layout: Layout, names: Names, problems: list[Problem]) -> _Table:
    """Reads one table through, keeping only where its rows lie."""
    table = _Table(path)
    hint = set_of_path(path) or ""
    photos: dict[str, str | None] = {}
    for row in rows(folder / path, layout):
        if not isinstance(row, Row):
            problems.append(Problem("line_unreadable", path, f"at byte {row.start}"))
            continue
        table.num_rows += 1
        stated = row.cell(layout, "photo")
        if stated not in photos:
            photos[stated] = _photo(stated, path, names.find(stated, near=path, hint=hint), problems)
        photo = photos[stated]
        if photo is None:
            continue
        table.places[photo] += packed([row.place])
        table.sets[photo].add(set_name(row.cell(layout, "set")))
        corners = _corners(row, layout)
        table.num_corners += len(corners)
        table.num_shares += sum(abs(x) <= _MAX_SHARE and abs(y) <= _MAX_SHARE for x, y in corners)
    return table


def _photo(stated: str, path: str, found: Sequence[str], problems: list[Problem]) -> str | None:
    if not found:
        problems.append(Problem("annotation_without_image", stated or "(no name)", f"named in {path}"))
        return None
    if len(found) > 1:
        message = f"{stated} fits {', '.join(found)}; took {found[0]}"
        problems.append(Problem("image_ambiguous", path, message))
    return found[0]


def _object(row: Row | None, layout: Layout, size: tuple[int, int] | None) -> AnnotatedObject | None:
    """Returns the thing that a row speaks of, None where it says that nothing is on the photo.

    Args:
      row: read again from its place.
      layout: of the table.
      size: (height, width) of the photo, of which the coordinates are shares; None where they are pixels.

    Raises:
      DatasetError: it has no name, or no box.
    """
    if row is None:
        raise DatasetError("the row is not where it was; did the file change?")
    name = " ".join(row.cell(layout, "name").split())
    stated = [cell for x, y in layout.corners for cell in row.cells[x : x + 1] + row.cells[y : y + 1] if cell.strip()]
    if not name and not stated:
        return None
    if not name:
        raise DatasetError("a box without a class")
    corners = _corners(row, layout)
    if len(corners) < 2 or not all(map(math.isfinite, (side for corner in corners for side in corner))):
        raise DatasetError(f"{name}: a coordinate is missing or not a number")
    across, down = [x for x, _ in corners], [y for _, y in corners]
    if size is not None:
        if any(abs(side) > _FARTHEST for side in (*across, *down)):
            raise DatasetError(f"{name}: a coordinate beyond 1, where the table has shares of the photo")
        across, down = [x * size[1] for x in across], [y * size[0] for y in down]
    box: Box = (down[0], across[0], down[-1], across[-1])
    if len(corners) > 2:
        box = (min(down), min(across), max(down), max(across))
    return AnnotatedObject(
        name,
        box,
        difficult=_is_set(row.cell(layout, "difficult")),
        truncated=_is_set(row.cell(layout, "truncated")),
        is_crowd=_is_set(row.cell(layout, "is_crowd")),
    )


def _corners(row: Row, layout: Layout) -> list[tuple[float, float]]:
    """Returns the corners that are numbers."""
    corners = []
    for x, y in layout.corners:
        try:
            corners.append((_number(row.cells[x], layout), _number(row.cells[y], layout)))
        except (ValueError, IndexError):
            continue
    return corners


def _number(cell: str, layout: Layout) -> float:
    """Returns the number in a cell; where semicolons divide cells, spreadsheets write decimals with a comma."""
    return float(cell.replace(",", ".") if layout.delimiter == ";" else cell)


def _stated_size(found: Sequence[Row | None], layout: Layout) -> tuple[int, int]:
    """Returns (height, width) as the first row has it, 0 where it is silent or talks nonsense."""
    row = next(filter(None, found), None)
    if row is None:
        return 0, 0
    height, width = (_pixels(row.cell(layout, name)) for name in ("height", "width"))
    return height, width


def _pixels(cell: str) -> int:
    try:
        return max(0, int(float(cell)))
    except (ValueError, OverflowError):
        return 0


def _is_set(cell: str) -> bool:
    return cell.lower() in ("1", "true", "yes")


@functools.lru_cache(maxsize=16)
def _layout(path: Path, changed: int) -> Layout:
    """Looks at the head of a table once in each process and for each change."""
    layout = layout_of(path)
    if layout is None:
        raise DatasetError("it is no table of boxes any more; did the file change?")
    return layout
