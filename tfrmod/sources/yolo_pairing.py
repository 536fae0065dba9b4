"""Matching of YOLO label files and images, and detection of backgrounds among images without a label file."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.image_file import check_image
from tfrmod.near_duplicates import NEAR
from tfrmod.pairing import agreement, folded, num_trailing, spellings
from tfrmod.problems import Problem
from tfrmod.sources.split_names import set_name_of_folders

IMAGE_FOLDER = re.compile(r"(jpeg)?images?|imgs?|photos", re.IGNORECASE)
_IMAGE_WORD = re.compile(r"(?<![a-z])((jpeg)?images?|imgs?|photos)(?![a-z])", re.IGNORECASE)
_LABEL_FOLDER = "labels"


class Pairing(NamedTuple):
    """Label files and images that match unambiguously, and the others."""

    labels: dict[str, str]
    """{image: its label file}."""
    doubtful: dict[str, tuple[str, ...]]
    """{image: the label files that it may have}."""
    left: list[str]
    """Label files without an image."""


def paired(
    images: Sequence[str],
    texts: Iterable[str],
    *,
    is_label: Callable[[str], bool],
    are_equal: Callable[[str, str], bool],
) -> Pairing:
    """Returns the label file of each image.

    First by the locations that YOLO defines, exactly and then ignoring case and
    the form of accents; then by the folders that image and label file share; and
    last by unique names.

    Args:
      images: paths.
      texts: paths of the files that may be label files.
      is_label: returns whether a text has lines of labels, or is empty.
      are_equal: returns whether two texts have the same content.
    """
    texts = list(texts)
    labels: dict[str, str] = {}
    doubtful: dict[str, tuple[str, ...]] = {}
    exact = {_without_extension(text): text for text in texts}
    for image in images:
        found = list(dict.fromkeys(exact[place] for place in _places(image) if place in exact))
        rivals = [text for text in found[1:] if is_label(text) and not are_equal(found[0], text)]
        if rivals:
            doubtful[image] = (found[0], *rivals)
        elif found:
            labels[image] = found[0]
    _pair_folded(images, texts, labels, doubtful)
    taken = set(labels.values())
    _pair_by_folders(images, {text for text in texts if text not in taken}, texts, labels, doubtful, is_label)
    mentioned = {*labels.values(), *(text for found in doubtful.values() for text in found)}
    return Pairing(labels, doubtful, [text for text in texts if text not in mentioned and is_label(text)])


def _pair_folded(
    images: Sequence[str], texts: Sequence[str], labels: dict[str, str], doubtful: dict[str, tuple[str, ...]]
) -> None:
    """Pairs files that differ only in case or the form of accents; IMG_0 does not match img_0 if IMG_0 exists too."""
    by_folded: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        by_folded[folded(_without_extension(text))].append(text)
    taken = set(labels.values())
    claims: dict[str, list[str]] = defaultdict(list)
    for image in images:
        if image not in labels and image not in doubtful:
            for text in {text for place in _places(image) for text in by_folded.get(folded(place), ())}:
                claims[text].append(image)
    options: dict[str, list[str]] = defaultdict(list)
    for text, claimants in sorted(claims.items()):
        for image in claimants:
            options[image].append(text)
    for image, found in options.items():
        if len(found) == 1 and len(claims[found[0]]) == 1 and found[0] not in taken:
            labels[image] = found[0]
        else:
            doubtful[image] = tuple(found)


def _pair_by_folders(
    images: Sequence[str],
    free: set[str],
    texts: Sequence[str],
    labels: dict[str, str],
    doubtful: dict[str, tuple[str, ...]],
    is_label: Callable[[str], bool],
) -> None:
    """Pairs images and texts of one name that are each other's best match by folders; the rest is ambiguous."""
    wanted = {stem_key(image) for image in images if image not in labels and image not in doubtful}
    usable: dict[str, set[str]] = defaultdict(set)
    for text in free:
        if (key := stem_key(text)) in wanted and is_label(text):
            usable[key].add(text)
    all_texts, all_images = _by_key(texts), _by_key(images)
    for image in images:
        if image in labels or image in doubtful:
            continue
        key = stem_key(image)
        candidates = usable.get(key, set())
        if not candidates:
            continue
        alike = [text for text in all_texts[key] if text in candidates or text not in free]
        best = _only_best(image, alike)
        if best in candidates and _only_best(best, all_images[key]) == image:
            labels[image] = best
        else:
            doubtful[image] = tuple(sorted(candidates))


def _only_best(path: str, others: Sequence[str]) -> str:
    """Returns the path whose folders agree best with those of another path; "" if several do."""
    scores = [agreement(path, other) for other in others]
    return others[scores.index(max(scores))] if scores.count(max(scores)) == 1 else ""


def _places(image: str) -> list[str]:
    """Returns the possible label paths of an image, without extension: images/… becomes labels/…, or next to it.

    Some programs keep the image's extension: a.jpg.txt.
    """
    parts = PurePosixPath(image).parts
    folders = parts[:-1]
    sisters = [
        (*folders[:index], _IMAGE_WORD.sub(_LABEL_FOLDER, folders[index]), *folders[index + 1 :])
        for index in range(len(folders) - 1, -1, -1)
        if _IMAGE_WORD.search(folders[index])
    ]
    places = (*sisters, folders, (*folders, _LABEL_FOLDER))
    names = (PurePosixPath(image).stem, parts[-1])
    return ["/".join((*place, name)) for place in places for name in names]


def _by_key(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        found[stem_key(path)].append(path)
    return found


def stem_key(path: str) -> str:
    """Returns a file's name without extension, decoded from a URL, ignoring case and the form of accents."""
    return folded(spellings(PurePosixPath(path).stem)[-1])


def _without_extension(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


# Plots of a YOLO training.
_PLOTS = re.compile(
    r"results|confusion_matrix(_normalized)?|(\w+_)?curve|(train|val|test)_batch\d+(_labels|_pred)?|"
    r"labels(_correlogram)?",
    re.IGNORECASE,
)
# Bits of `near_duplicates.difference_hash` in which a copy may differ, even with boxes drawn on it.
_COPY = 16
# Ratio of images without label files to label files without an image below which their matching is unknown.
_PER_LOST_LABEL = 10

Folders = tuple[str, ...]


def split_backgrounds(folder: Path, images: Sequence[str], pairing: Pairing) -> tuple[set[str], list[Problem]]:
    """Returns the images without objects, and the problem of each other image without a label file.

    An image without a label file is a background if it is among images with one.
    It is left out if it may be labelled after all: a copy of a labelled image,
    an image in a part of the data without any label file, or one whose label
    file may be among those without an image.

    Args:
      folder: of the dataset.
      images: all images.
      pairing: of the images and the label files.
    """
    left_out = [image for image in images if image not in pairing.labels and image not in pairing.doubtful]
    homes = _LabelFolders(pairing.labels)
    twins: dict[str, str] = {}
    for image in pairing.labels:
        twins.setdefault(stem_key(image), image)
    backgrounds: list[str] = []
    problems = []
    for image in left_out:
        reason = homes.why_not(image)
        twin = twins.get(stem_key(image))
        if not reason and twin is not None and are_alike(folder / image, folder / twin, max_distance=_COPY):
            reason = f"it has the name of {twin}, which has a label file, and shows the same"
        if reason:
            problems.append(Problem("image_without_annotation", image, reason))
        else:
            backgrounds.append(image)
    lost = [text for text in pairing.left if (folder / text).stat().st_size]
    if lost and len(lost) * _PER_LOST_LABEL >= len(backgrounds):
        reason = f"its label file may be one of the {len(lost)} that belong to no image, such as {lost[0]}"
        problems += [Problem("image_without_annotation", image, reason) for image in backgrounds]
        backgrounds = []
    problems += [Problem("image_unlabelled", image) for image in backgrounds]
    return set(backgrounds), problems


def are_alike(one: Path, other: Path, *, max_distance: int = NEAR) -> bool:
    """Returns whether two image files have similar content, or cannot be compared.

    Args:
      one: a file.
      other: a file.
      max_distance: largest number of different bits of `near_duplicates.difference_hash`.
    """
    try:
        hashes = [check_image(path.read_bytes()).image_hash or 0 for path in (one, other)]
    except (DatasetError, OSError):
        return True
    return (hashes[0] ^ hashes[1]).bit_count() <= max_distance


class _LabelFolders:
    """Folders of images with label files."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._flat: set[Folders] = set()
        """Folders with label files in them or in subfolders."""
        self._roots: set[Folders] = set()
        """Folders that have only images, with label files elsewhere."""
        self._sets: set[Folders] = set()
        for image, label in labels.items():
            here, there = _folders(image), _folders(label)
            root = here[: len(here) - num_trailing(here, there)]
            if there[: len(root)] == root:
                self._flat.add(here)
            else:
                self._roots.add(root)
            self._sets.update(_set_folders(image))

    def why_not(self, image: str) -> str:
        """Returns why an image is not part of the dataset; "" if it is."""
        file, here = PurePosixPath(image), _folders(image)
        if _PLOTS.fullmatch(file.stem):
            return "it has the name of a plot that a training draws"
        is_home = (
            here in self._flat
            or any(here[:count] in self._roots for count in range(1, len(here) + 1))
            or any(IMAGE_FOLDER.fullmatch(part) for part in here)
        )
        if not is_home:
            return "it is outside of the folders of the images with label files"
        without = [place for place in _set_folders(image) if place not in self._sets]
        return f"no image in {'/'.join(without[0])} has a label file" if without else ""


def _set_folders(image: str) -> Iterable[Folders]:
    """Returns the folder of an image that is named after a set (train, val, test), if there is one."""
    here = _folders(image)
    for count in range(len(here), 0, -1):
        if set_name_of_folders("/".join((here[count - 1], "x"))):
            return [here[:count]]
    return []


def _folders(path: str) -> Folders:
    return PurePosixPath(path).parts[:-1]
