"""Which XML speaks of which photo: by stem, by nearness in the tree, and in doubt by the filename tag."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from tfrmod.checks import Problem
from tfrmod.sources.files import nearness

StatedName = Callable[[str], str]


def pair(
    photos: Sequence[str], annotations: Sequence[str], others: Sequence[str], stated_name: StatedName
) -> tuple[dict[str, str], list[Problem]]:
    """Returns {photo: its annotation}, and everything that found no partner.

    Names come first, because filename tags are often stale: the photos were
    renamed, the tags were not. Of several photos with an XML's stem the one
    nearest in the tree is meant (VOC2007 and VOC2012 both have a 000001), and
    of several equally near ones that which the tag names.

    Args:
      photos: files with a photo's extension.
      annotations: XML files.
      others: files that are photos only if an annotation says so.
      stated_name: annotation → the file name in its filename tag, or "".
    """
    pairs: dict[str, str] = {}
    problems: list[Problem] = []
    left = _pair_by_stem(pairs, problems, photos, annotations, stated_name)
    left = _pair_by_stated_name(pairs, [*photos, *others], left, stated_name)
    left = _pair_by_stem(pairs, problems, others, left, stated_name)
    taken = {key(photo): photo for photo in pairs for key in (_name, _stem)} if left else {}
    for annotation in left:
        photo = taken.get(_stem(annotation)) or taken.get(stated_name(annotation).lower())
        if photo and nearness(annotation, photo):
            problems.append(Problem("annotation_twice", annotation, f"{photo} has {pairs[photo]}"))
        else:
            problems.append(Problem("annotation_without_image", annotation))
    problems.extend(Problem("image_without_annotation", photo) for photo in photos if photo not in pairs)
    return pairs, problems


def _pair_by_stem(
    pairs: dict[str, str],
    problems: list[Problem],
    photos: Iterable[str],
    annotations: Sequence[str],
    stated_name: StatedName,
) -> list[str]:
    """Pairs what bears one stem, the nearest first; returns the annotations left over."""
    photos_by_stem = _by(_stem, (photo for photo in photos if photo not in pairs))
    left = []
    for stem, rivals in _by(_stem, annotations).items():
        candidates = photos_by_stem.get(stem, [])
        for annotation in sorted(rivals, key=lambda rival: _best_nearness(rival, candidates)):
            free = [photo for photo in candidates if photo not in pairs]
            if not free:
                left.append(annotation)
                continue
            photo, is_clear = _nearest(annotation, free, stated_name)
            if not is_clear:
                problems.append(Problem("image_ambiguous", annotation, f"fits {', '.join(free)}; took {photo}"))
            pairs[photo] = annotation
    return sorted(left)


def _pair_by_stated_name(
    pairs: dict[str, str], photos: Sequence[str], annotations: Sequence[str], stated_name: StatedName
) -> list[str]:
    photos_by_name = _by(_name, photos) if annotations else {}
    left = []
    for annotation in annotations:
        free = [photo for photo in photos_by_name.get(stated_name(annotation).lower(), []) if photo not in pairs]
        if free:
            pairs[max(free, key=lambda photo: nearness(annotation, photo))] = annotation
        else:
            left.append(annotation)
    return left


def _nearest(annotation: str, photos: Sequence[str], stated_name: StatedName) -> tuple[str, bool]:
    """Returns the photo that is meant, and whether there was no doubt."""
    steps = [nearness(annotation, photo) for photo in photos]
    best = [photo for photo, near in zip(photos, steps, strict=True) if near == max(steps)]
    if len(best) == 1:
        return best[0], True
    stated = stated_name(annotation)
    named = [photo for photo in best if PurePosixPath(photo).name == stated]
    return (named or best)[0], len(named) == 1


def _best_nearness(annotation: str, photos: Sequence[str]) -> tuple[int, str]:
    """Returns a sorting key: the annotation nearest to any photo first."""
    return -max((nearness(annotation, photo) for photo in photos), default=0), annotation


def _stem(path: str) -> str:
    return PurePosixPath(path).stem.lower()


def _name(path: str) -> str:
    return PurePosixPath(path).name.lower()


def _by(key: Callable[[str], str], paths: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return groups
