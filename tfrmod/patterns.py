"""File patterns: comma-separated globs, and escaped literal paths."""

import difflib
import glob
import re
from pathlib import Path

from tfrmod.errors import DatasetError

# A comma between brackets is a character of a glob; everywhere else it separates two globs.
_PART = re.compile(r"(?:\[!?\]?[^\]]*\]|[^,])+")
_OUTER_BLANKS = re.compile(r"^\s+|\s+$")


def escape_path(path: Path | str) -> str:
    """Returns the pattern that matches exactly one path, whatever its name contains.

    >>> escape_path("runs [v2]/a,b")
    'runs [[]v2]/a[,]b'
    """
    escaped = glob.escape(str(path)).replace(",", "[,]")
    return _OUTER_BLANKS.sub(lambda found: "".join(f"[{blank}]" for blank in found[0]), escaped)


def split_patterns(text: str) -> list[str]:
    """Returns the globs in a text, separated by commas.

    >>> split_patterns("a/train-*, b[,]c/train-*")
    ['a/train-*', 'b[,]c/train-*']
    """
    return [part.strip() for part in _PART.findall(text) if part.strip()]


def matching_files(text: str, *, source: str = "") -> tuple[Path, ...]:
    """Returns the files that comma-separated globs match, sorted, without duplicates.

    An existing folder with exactly the written name is taken literally, so that
    brackets and commas in it need not be escaped.

    Raises:
      DatasetError: one of the globs matches nothing, which names `source`, or the pattern is ambiguous.
    """
    parts = split_patterns(text)
    found = {part: matches for part in parts if (matches := glob_files(part))}
    if len(parts) > 1 and (as_one := glob_files(text.strip())):
        if found:
            raise _doubt(text, "as one path, and as several that commas separate")
        return tuple(sorted(as_one))
    origin = f" ({source})" if source else ""
    for part in parts:
        if part not in found:
            raise DatasetError(f"No shards match {part}{origin}.{_similar(part)}", missing=True)
    if not found:
        raise DatasetError(f"The pattern {text!r}{origin} names no shards.", missing=True)
    return tuple(sorted(set().union(*found.values())))


def glob_files(pattern: str) -> set[Path]:
    """Returns the files that one glob matches, its folder read as a glob or, if it exists, literally.

    Raises:
      DatasetError: both readings match different files.
    """
    as_glob = _files(pattern)
    folder, name = str(Path(pattern).parent), Path(pattern).name
    if not glob.has_magic(pattern):
        return as_glob
    literal = _files(glob.escape(pattern))
    if glob.has_magic(folder) and Path(folder).is_dir():
        literal |= _files(str(Path(glob.escape(folder)) / name))
    if as_glob and literal - as_glob:
        raise _doubt(pattern, "as a glob, and as the name that is written")
    return as_glob | literal


def _files(pattern: str) -> set[Path]:
    return {Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file()}


def _doubt(pattern: str, readings: str) -> DatasetError:
    return DatasetError(
        f"The pattern {pattern} can be read in two ways, and files match both: {readings}. "
        "Write [[] for a bracket and [,] for a comma that belongs to a name."
    )


def _similar(pattern: str) -> str:
    folder = Path(pattern).parent
    if not folder.is_dir():
        return f" The folder {folder} does not exist." if not glob.has_magic(str(folder)) else ""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    near = difflib.get_close_matches(Path(pattern).name, names, n=3, cutoff=0.4)
    if not near:
        return f" The folder {folder} holds {len(names)} other files." if names else f" The folder {folder} is empty."
    return f" Similar names there: {', '.join(near)}."
