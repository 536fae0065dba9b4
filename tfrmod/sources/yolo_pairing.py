"""Which label file belongs to which image in a YOLO data set; what is doubtful belongs to none."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from tfrmod.sources.pairing import agreement, folded, spellings

IMAGE_FOLDER = re.compile(r"(jpeg)?images?|imgs?|photos", re.IGNORECASE)
_IMAGE_WORD = re.compile(r"(?<![a-z])((jpeg)?images?|imgs?|photos)(?![a-z])", re.IGNORECASE)
_LABEL_FOLDER = "labels"


class Pairing(NamedTuple):
    """Label files and images, as far as they belong together beyond doubt."""

    labels: dict[str, str]
    """{image: its label file}."""
    doubtful: dict[str, tuple[str, ...]]
    """{image: the label files of which one may be its own}."""
    left: list[str]
    """Label files of no image."""


def paired(
    images: Sequence[str],
    texts: Iterable[str],
    *,
    is_label: Callable[[str], bool],
    are_equal: Callable[[str, str], bool],
) -> Pairing:
    """Returns which label file belongs to each image.

    First come the places that YOLO knows, as they are written and then with
    capitals and the form of accents ignored; then the folders that image and
    label file share; and last a name that occurs once.

    Args:
      images: paths.
      texts: paths of the files that may be label files.
      is_label: whether a text has lines of labels, or none at all.
      are_equal: whether two texts say the same.
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
    """Pairs what only differs in capitals or the form of accents; IMG_0 is not img_0 where there is an img_0."""
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
    """Pairs images and texts of one name whose folders agree best, each with the other; the rest is doubtful."""
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
    """Returns the one of some paths whose folders agree best with those of a path; "" where several do."""
    scores = [agreement(path, other) for other in others]
    return others[scores.index(max(scores))] if scores.count(max(scores)) == 1 else ""


def _places(image: str) -> list[str]:
    """Returns where the labels of an image may lie, without extension: images/… becomes labels/…, or beside it.

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
    """Returns a file's name without extension, decoded from a URL, capitals and the form of accents ignored."""
    return folded(spellings(PurePosixPath(path).stem)[-1])


def _without_extension(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
