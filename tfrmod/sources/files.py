"""The files of a data set, by what their names say they are, and photos found by the names that others give them."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfrmod.content import PHOTO_EXTENSIONS
from tfrmod.junk import is_junk

# Pictures whose colours are labels; they bear the photos' names.
VOC_MASK_FOLDERS = frozenset({"segmentationclass", "segmentationobject"})
_KINDS = {"xml": "xml", "txt": "txt", "json": "json", "csv": "csv", "yaml": "yaml", "yml": "yaml"}


class Files(NamedTuple):
    """Paths relative to the folder, with forward slashes, sorted."""

    photos: list[str]
    """Files with a photo's extension, those in VOC's folders of masks apart."""
    masks: list[str]
    """Files with a photo's extension in VOC's folders of masks."""
    xml: list[str]
    txt: list[str]
    json: list[str]
    csv: list[str]
    yaml: list[str]
    others: list[str]

    @property
    def total(self) -> int:
        """Returns how many files there are."""
        return sum(map(len, self))


def found_files(folder: Path) -> Files:
    """Returns every file of a folder and the folders within, but for what operating systems leave there.

    Links to folders are not followed, so nothing outside is ever listed that
    way.
    """
    found = Files([], [], [], [], [], [], [], [])
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        relative = Path(parent).relative_to(folder)
        is_of_masks = not VOC_MASK_FOLDERS.isdisjoint(map(str.lower, relative.parts))
        for name in sorted(names):
            if not is_junk(name):
                extension = name.rpartition(".")[2].lower()
                kind = _KINDS.get(extension, "others")
                if extension in PHOTO_EXTENSIONS:
                    kind = "masks" if is_of_masks else "photos"
                getattr(found, kind).append((relative / name).as_posix())
    return found


class Names:
    """Files by path, by name and by stem, for annotations that name them in any of these ways."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = set(paths)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.paths):
            self._by_name[PurePosixPath(path).name.lower()].append(path)
        self._by_stem: dict[str, list[str]] | None = None

    def find(self, name: str, *, near: str, hint: str = "") -> list[str]:
        """Returns the files that are meant, the best first; more than one where there is doubt.

        A path that is there, from the annotation's folder or from the top, is
        believed. Otherwise the file's name counts, then its stem; of several
        the one nearest to the annotation or in a folder that the hint fits.

        Args:
          name: as the annotation has it; may be a URL or another machine's path.
          near: the annotation that names it.
          hint: part of the name of the folder that it probably lies in.
        """
        plain = name.replace("\\", "/").partition("?")[0]
        for path in (_joined(PurePosixPath(near).parent, plain), _joined(PurePosixPath(), plain)):
            if path in self.paths:
                return [path]
        last = PurePosixPath(plain).name.lower()
        candidates = self._by_name.get(last) or self._stems().get(last, []) if last else []
        if len(candidates) < 2:
            return candidates
        ranked = sorted((_rank(path, plain, near, hint), path) for path in candidates)
        return [path for rank, path in ranked if rank == ranked[0][0]]

    def _stems(self) -> dict[str, list[str]]:
        if self._by_stem is None:
            self._by_stem = defaultdict(list)
            for path in sorted(self.paths):
                self._by_stem[PurePosixPath(path).stem.lower()].append(path)
        return self._by_stem


def nearness(one: str, other: str) -> int:
    """Returns how many folders from the top two files share, doubled, plus one where they lie side by side."""
    here, there = PurePosixPath(one).parent, PurePosixPath(other).parent
    shared = 0
    for part, counterpart in zip(here.parts, there.parts, strict=False):
        if part != counterpart:
            break
        shared += 1
    return 2 * shared + (here == there)


def _rank(path: str, name: str, near: str, hint: str) -> tuple[int, int, int]:
    """Returns a sorting key: first the stated folders, then the folder that the hint fits, then nearness."""
    wanted, parts = PurePosixPath(name).parts[::-1], PurePosixPath(path).parts[::-1]
    agreeing = next(
        (i for i, (a, b) in enumerate(zip(wanted, parts, strict=False)) if a != b), min(len(wanted), len(parts))
    )
    is_hinted = bool(hint) and any(hint in part.lower() for part in parts[1:])
    return -agreeing, -is_hinted, -nearness(path, near)


def _joined(folder: PurePosixPath, name: str) -> str:
    """Returns the path that a relative name has from a folder, steps up resolved; "" where it leaves the top."""
    parts: list[str] = list(folder.parts)
    for part in PurePosixPath(name).parts:
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
