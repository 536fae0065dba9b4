"""Matching of file names in annotations with the files of a dataset, by the same rules for all formats."""

import functools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from tfrmod.file_types import IMAGE_EXTENSIONS
from tfrmod.problems import Problem

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # Two letters or more: C:/ is a drive.


class _Found(NamedTuple):
    """Files that match a name, and the rule by which they do: 0 is the path, see `_RULES` for the others."""

    paths: list[str]
    rule: int


class Names:
    """Index of files by path, by name and by stem, for annotations that refer to them in any of these ways."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = set(paths)
        self._indices: dict[Callable[[str], str], _Index] = {}
        self._recurring: bool | None = None
        self._folders: set[str] = set()

    def find(self, name: str, *, near: str, hint: str = "") -> list[str]:
        """Returns the matching files: one, none, or several if the name is ambiguous.

        An existing path, relative to the annotation's folder or to the dataset,
        takes precedence. Otherwise the file name is compared, then its stem; of
        several files the one whose folders agree with the stated ones, or in a
        folder that matches the hint, or nearest to the annotation.

        Args:
          name: as in the annotation; may be a URL or a path of another machine.
          near: path of the annotation.
          hint: part of the name of the folder that probably contains the file.
        """
        return self._find(name, near, hint).paths

    def find_all(self, names: Iterable[str], *, near: str, hint: str = "") -> dict[str, list[str]]:
        """Returns the result of `find` for many names of one annotation file, which compete with each other.

        A file that matches one name by its path is not matched to another by
        the file name only: `cam1/0.jpg` is missing, and not `cam2/0.jpg`. Names
        that match one file equally well, though none by its path, mean several
        images of which one exists; none of them gets the file.
        """
        found = {name: self._find(name, near, hint) for name in dict.fromkeys(names)}
        claims: dict[str, list[int]] = defaultdict(list)
        for paths, rule in found.values():
            if len(paths) == 1:
                claims[paths[0]].append(rule)

        def is_given(match: _Found) -> bool:
            if len(match.paths) != 1 or match.rule == 0:
                return True
            rules = claims[match.paths[0]]
            return match.rule == min(rules) and rules.count(match.rule) == 1

        return {name: match.paths if is_given(match) else [] for name, match in found.items()}

    def _find(self, name: str, near: str, hint: str) -> _Found:
        forms = spellings(name)
        folder = near.rpartition("/")[0]
        for form in forms:
            for path in (_joined(folder, form), _joined("", form)):
                if path in self.paths:
                    return _Found([path], 0)
                without_extension = _paths(self._index(_without_extension, whole=True), path)
                if len(without_extension) == 1:
                    return _Found(without_extension, 0)
        candidates, rule = self.matches(*forms)
        best = _best(candidates, forms, near, hint)
        return _Found([path for path in best if not self.contradicts(path, forms)], rule)

    def matches(self, *forms: str) -> tuple[list[str], int]:
        """Returns the files that match by the first rule that has any matches, and the index of the rule.

        Args:
          *forms: a name as written, and optionally decoded.
        """
        for number, (of_name, of_file) in enumerate(_RULES, start=1):
            index = self._index(of_file)
            tried = forms if number > _WRITTEN else forms[:1]
            candidates = sorted({path for form in tried for path in _paths(index, of_name(_last(form)))})
            if candidates:
                return candidates, number
        return [], len(_RULES) + 1

    def contradicts(self, path: str, forms: Sequence[str]) -> bool:
        """Returns whether a name is `cam1/0.jpg`, a folder cam1 exists, and the file is outside of it.

        That only matters if file names occur in several folders; a file with a
        unique name was moved.
        """
        if self._recurring is None:
            counts = Counter(map(_last, self.paths))
            self._recurring = len(counts) < len(self.paths)
            self._folders = {folded(part) for path in self.paths for part in PurePosixPath(path).parts[:-1]}
        stated = {folded(PurePosixPath(form).parent.name) for form in forms} & self._folders
        return self._recurring and bool(stated.difference(map(folded, PurePosixPath(path).parts[:-1])))

    def _index(self, of_file: Callable[[str], str], *, whole: bool = False) -> "_Index":
        """Returns {file name as transformed by a rule: its path, or paths}; computed on first use."""
        if of_file in _KEEP_PLAIN_NAMES and self._are_plain:
            of_file = str
        if of_file not in self._indices:
            index: _Index = {}
            for path in self.paths:
                name = of_file(path if whole else _last(path))
                others = index.get(name)
                if isinstance(others, list):
                    others.append(path)
                else:
                    # Lists for unique names would be most of the memory of a large dataset.
                    index[name] = path if others is None else [others, path]
            index.pop("", None)
            self._indices[of_file] = index
        return self._indices[of_file]

    @functools.cached_property
    def _are_plain(self) -> bool:
        """Whether names are ASCII without percent signs, so that composing and decoding leave them as they are."""
        return all(path.isascii() and "%" not in path for path in self.paths)


_Index = dict[str, str | list[str]]


def _paths(index: _Index, name: str) -> list[str]:
    found = index.get(name)
    return [] if found is None else [found] if isinstance(found, str) else found


def spellings(name: str) -> list[str]:
    """Returns a name as a path with forward slashes: as it is, and decoded if it is a URL."""
    plain = name.strip().replace("\\", "/")
    return list(dict.fromkeys((plain, _decoded(plain).replace("\\", "/"))))


def composed(name: str) -> str:
    """Returns a name with its accents composed (NFC); macOS writes them decomposed."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def stem_of(name: str) -> str:
    """Returns a file name without the extension of an image; other extensions are part of the stem."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot and extension.lower() in IMAGE_EXTENSIONS else name


def folded(name: str) -> str:
    """Returns a name with composed accents, in a form for case-insensitive comparison."""
    return composed(name).casefold()


def nearness(one: str, other: str) -> int:
    """Returns twice the number of leading folders that two files share, plus one if they are in the same folder."""
    here, there = PurePosixPath(one).parent, PurePosixPath(other).parent
    return 2 * num_equal(here.parts, there.parts) + (here == there)


def agreement(one: str, other: str) -> int:
    """Returns the number of folders that two files share, leading and trailing ones."""
    return _agreement(one.rpartition("/")[0], other.rpartition("/")[0])


@functools.lru_cache(maxsize=1 << 18)  # There are far fewer folders than files.
def _agreement(folder: str, other: str) -> int:
    here, there = PurePosixPath(folder).parts, PurePosixPath(other).parts
    return min(num_equal(here, there) + num_trailing(here, there), len(here), len(there))


def num_equal(one: Sequence[str], other: Sequence[str]) -> int:
    """Returns the number of equal leading items."""
    pairs = zip(one, other, strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def num_trailing(one: Sequence[str], other: Sequence[str]) -> int:
    """Returns the number of equal trailing items, ignoring case and the form of accents."""
    return num_equal([folded(part) for part in one[::-1]], [folded(part) for part in other[::-1]])


def _decoded_name(name: str) -> str:
    return composed(_unquoted(name))


def _stated_stem(name: str) -> str:
    return stem_of(_decoded_name(name))


def _file_stem(name: str) -> str:
    return PurePosixPath(_decoded_name(name)).stem


def _folded_name(name: str) -> str:
    return folded(_decoded_name(name))


def _folded_stem(name: str) -> str:
    return folded(_stated_stem(name))


def _folded_file_stem(name: str) -> str:
    return folded(_file_stem(name))


# Transformations of the stated name and of the file name that must be equal; case is ignored last, for `IMG_0` is not
# `img_0`.
_RULES: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (str, str),
    (composed, composed),
    (_decoded_name, _decoded_name),
    (_decoded_name, _file_stem),
    (_stated_stem, _file_stem),
    (_folded_name, _folded_name),
    (_folded_name, _folded_file_stem),
    (_folded_stem, _folded_file_stem),
)
_KEEP_PLAIN_NAMES = (composed, _decoded_name)
_WRITTEN = 2  # The first rules use the name as written, not decoded from a URL.


def _best(candidates: Sequence[str], forms: Sequence[str], near: str, hint: str) -> list[str]:
    if len(candidates) < 2:
        return list(candidates)
    ranks = {path: min(_rank(path, form, near, hint) for form in forms) for path in candidates}
    return [path for path in candidates if ranks[path] == min(ranks.values())]


def _rank(path: str, name: str, near: str, hint: str) -> tuple[int, int, int]:
    """Returns a sort key: first the stated folders, then the folder that matches the hint, then nearness."""
    folders = PurePosixPath(path).parts[:-1]
    agreeing = num_trailing(PurePosixPath(name).parts[:-1], folders)
    is_hinted = bool(hint) and any(hint in part.lower() for part in folders)
    return -agreeing, -is_hinted, -nearness(path, near)


def _decoded(name: str) -> str:
    """Returns the path of a URL: without scheme, host, query and fragment, percent-decoded.

    Label Studio serves local files as `/data/local-files/?d=folder%2Ffile.jpg`.
    """
    path, _, query = name.partition("?")
    stated = parse_qs(query).get("d", []) if query else []
    if stated and (path.endswith("/") or not path):
        return stated[0]
    match = _SCHEME.match(path)
    if match:
        path = path[match.end() :].partition("#")[0]
        path = path if match.group().lower() == "file://" else path.partition("/")[2]
    return _unquoted(path)


def _unquoted(name: str) -> str:
    """Returns a name percent-decoded; unchanged if the result is not UTF-8."""
    if "%" not in name:
        return name
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name


def _without_extension(path: str) -> str:
    return path[: len(path) - len(_last(path))] + stem_of(_last(path))


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _joined(folder: str, name: str) -> str:
    """Returns the path of a relative name in a folder, with `..` resolved; "" if it leaves the dataset."""
    if name.startswith("/"):
        return ""
    parts = folder.split("/") if folder else []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


_MOST_NAMED = 3


def images_of(
    stated: Iterable[str], names: Names, *, annotation: str, hint: str, problems: list[Problem]
) -> dict[str, str]:
    """Returns {name in the annotation: image}, without names that match no image, or several equally well.

    Args:
      stated: the names in one annotation file.
      names: the files.
      annotation: the path of that file.
      hint: part of the name of the folder that probably contains its images, such as train.
      problems: gets one entry for each name that is left out.
    """
    images = {}
    for name, found in names.find_all(stated, near=annotation, hint=hint).items():
        if len(found) == 1:
            images[name] = found[0]
        elif found:
            fitting = ", ".join(found[:_MOST_NAMED]) + (" …" if len(found) > _MOST_NAMED else "")
            problems.append(Problem("image_ambiguous", annotation, f"{name} fits {fitting}"))
        else:
            problems.append(Problem("annotation_without_image", name or "(no name)", f"named in {annotation}"))
    return images
