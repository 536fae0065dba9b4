"""Near-duplicate images: perceptual hashes, groups of similar hashes, and comparison of the annotated objects."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfrmod.annotated_image import AnnotatedImage

HASH_BITS = 64
NEAR = 4
"""Bits by which images of one motif may differ: a copy saved again, downscaled or a little brighter stays below."""
_SIDE = 8
_ENOUGH = 64  # Pixels of the shorter side.
_REDUCIBLE = ("L", "RGB", "RGBA", "CMYK", "LA")
# Images that share a band but are further apart in its order are not compared; only look-alikes by the hundred are hit.
_MOST_NEIGHBOURS = 512
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)
_SAME_PLACE = 0.5
"""Intersection over union from which two boxes of one class mark the same object."""
_MOST_OBJECTS = 0.8
"""Share of the objects that must have a counterpart; a second annotator misses some."""
_FAR = 0.15  # By which the mean box may move, in sides of the image, before a closer look is without a match.
_CLOSER_LOOKS = 8


class Objects(NamedTuple):
    """The objects on one image."""

    names: tuple[str, ...]
    boxes: np.ndarray
    """(n, 4): y0, x0, y1, x1 in parts of the image's sides."""


def difference_hash(picture: Image.Image) -> int:
    """Returns 64 bits, one for each place of an 8x8 grid: whether the image gets darker there, from left to right.

    Size, quality and brightness change few of them (dHash; Krawetz, 2013).

    Args:
      image: of any size and mode; an image decoded at an eighth will do.
    """
    # Reduced first by a whole number, as a JPEG decoded roughly is: the quick way through a large image.
    factor = max(1, min(picture.size) // _ENOUGH)
    grey = (picture.reduce(factor) if factor > 1 and picture.mode in _REDUCIBLE else picture).convert("L")
    small = grey.resize((_SIDE + 1, _SIDE), Image.Resampling.BILINEAR)
    values = np.frombuffer(small.tobytes(), np.uint8).reshape(_SIDE, _SIDE + 1)  # Quicker than np.asarray.
    return int.from_bytes(np.packbits(values[:, :-1] > values[:, 1:]).tobytes(), "big")


def near_groups(
    hashes: Sequence[int] | np.ndarray,
    *,
    max_distance: int = NEAR,
    objects: Callable[[int], Objects] | None = None,
) -> list[list[int]]:
    """Returns the groups of positions whose images nearly agree, two or more in each.

    Near ones are found by bands: of `max_distance` + 1 runs of bits, two near
    hashes have at least one in common. A group grows along near pairs, but two
    groups are joined only where their first members are not too far from each
    other: so a long row of images, each like the next, does not become one.
    An image with hardly any structure, such as grey fog, is in no group.

    Args:
      hashes: from `difference_hash`.
      max_distance: bits in which two of a pair may differ.
      objects: position → what is on the image; near ones must show the same.
        None takes the hash alone.

    Raises:
      ValueError: `max_distance` leaves bands of no bit.
    """
    labels = _near_labels(hashes, max_distance)
    return [group.tolist() for group in _groups(labels if objects is None else split_by_objects(labels, objects))]


def twin_groups(
    identities: Sequence[int] | np.ndarray,
    hashes: Sequence[int] | np.ndarray,
    *,
    max_distance: int = NEAR,
    objects: Callable[[int], Objects] | None = None,
) -> list[np.ndarray]:
    """Returns the groups of positions whose images are equal or nearly so, two or more in each, as arrays.

    Args:
      identities: equal for equal images only, part of their bytes' hash for example.
      hashes: as `near_groups` has them.
      max_distance: as `near_groups` has it.
      objects: position → what is on the image; near ones must show the same.
        None takes the hash alone.
    """
    near = _near_labels(hashes, max_distance)
    if objects is not None:
        near = split_by_objects(near, objects)
    _, equal = np.unique(np.asarray(identities, dtype=np.uint64), return_inverse=True)
    # Equal images have one label already; what is left is to join the labels that meet in a near group.
    meeting = np.unique((near * len(equal) + equal)[near >= 0])
    groups, labels = np.divmod(meeting, max(1, len(equal)))
    parents: dict[int, int] = {}
    for index in np.flatnonzero(groups[1:] == groups[:-1]).tolist():
        _join(parents, int(labels[index]), int(labels[index + 1]))
    return _groups(_firsts(parents, len(equal))[equal])


def _near_labels(hashes: Sequence[int] | np.ndarray, max_distance: int) -> np.ndarray:
    """Returns a number for each hash, the same for those of one near group; -1 where it says nothing."""
    if not 0 <= max_distance < HASH_BITS:
        raise ValueError(f"max_distance is a number of bits, from 0 to {HASH_BITS - 1}. Received {max_distance}.")
    values, inverse = np.unique(np.asarray(hashes, dtype=np.uint64), return_inverse=True)
    ones = _num_ones(values)
    is_distinctive = np.minimum(ones, HASH_BITS - ones) >= 2 * max(1, max_distance)
    parents: dict[int, int] = {}
    for one, other in _near_pairs(values, np.flatnonzero(is_distinctive), max_distance):
        first, second = _root(parents, one), _root(parents, other)
        if (int(values[first]) ^ int(values[second])).bit_count() <= 2 * max_distance:
            _join(parents, first, second)
    return np.where(is_distinctive, _firsts(parents, len(values)), -1)[inverse]


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    """Returns the positions of each label, 0 and above, that occurs more than once; in order of their first."""
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    groups = [group for group in np.split(order, bounds) if len(group) > 1] if len(order) > len(bounds) + 1 else []
    return sorted(groups, key=lambda group: int(group[0]))


def _near_pairs(values: np.ndarray, distinctive: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    """Returns pairs of indices into `values`, the nearest pairs first."""
    found = [np.empty((0, 3), np.int64)]
    for band in _bands(values[distinctive], max_distance + 1):
        sorting = np.argsort(band, kind="stable")
        order, ordered = distinctive[sorting], band[sorting]
        here = np.arange(len(order))
        for step in range(1, _MOST_NEIGHBOURS + 1):
            here = here[here + step < len(order)]
            here = here[ordered[here] == ordered[here + step]]
            if not len(here):
                break
            one, other = order[here], order[here + step]
            distances = _num_ones(values[one] ^ values[other])
            near = distances <= max_distance
            one, other = one[near], other[near]
            found.append(np.stack([distances[near], np.minimum(one, other), np.maximum(one, other)], axis=1))
    return [(one, other) for _, one, other in np.unique(np.concatenate(found), axis=0).tolist()]


def _num_ones(values: np.ndarray) -> np.ndarray:
    """Returns how many bits of each are set."""
    return _ONES[values.view(np.uint16)].reshape(-1, HASH_BITS // 16).sum(axis=1, dtype=np.uint8)


def _bands(values: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yields `count` runs of bits of every hash, together all of them; in as few bytes as hold a run."""
    bounds = [HASH_BITS * index // count for index in range(count + 1)]
    for start, end in itertools.pairwise(bounds):
        band = (values >> np.uint64(start)) & np.uint64((1 << (end - start)) - 1)
        yield band.astype(np.min_scalar_type((1 << (end - start)) - 1))


def _join(parents: dict[int, int], one: int, other: int) -> None:
    """Makes one group of two (union-find); its first is the smaller of their firsts."""
    first, second = sorted((_root(parents, one), _root(parents, other)))
    if first != second:
        parents[second] = first


def _root(parents: dict[int, int], index: int) -> int:
    """Returns the first of the group that `index` is in; an index without a parent is itself the first."""
    while index in parents:
        above = parents[index]
        if above in parents:
            parents[index] = parents[above]
        index = above
    return index


def _firsts(parents: dict[int, int], count: int) -> np.ndarray:
    """Returns the first of the group of each of `count` indices."""
    firsts = np.arange(count)
    for index in list(parents):
        firsts[index] = _root(parents, index)
    return firsts


def objects_of(image: AnnotatedImage) -> Objects:
    """Returns the objects of an image in parts of its sides."""
    boxes = np.array([obj.box for obj in image.objects], float).reshape(-1, 4)
    sides = np.array([image.height, image.width] * 2, float)
    return Objects(tuple(obj.name for obj in image.objects), boxes / np.maximum(sides, 1.0))


def is_same(one: Objects, other: Objects) -> bool:
    """Returns whether nearly all objects of each have a counterpart on the other; so have two images of nothing."""
    most = max(len(one.names), len(other.names))
    if min(len(one.names), len(other.names)) < _MOST_OBJECTS * most:
        return False
    if not most:
        return True
    overlaps = _overlaps(one.boxes, other.boxes)
    overlaps[np.array(one.names)[:, None] != np.array(other.names)] = 0.0
    first, second = np.nonzero(overlaps >= _SAME_PLACE)
    order = np.argsort(-overlaps[first, second], kind="stable")
    is_free_here, is_free_there = np.ones(len(one.names), bool), np.ones(len(other.names), bool)
    num_matched = 0
    for here, there in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if is_free_here[here] and is_free_there[there]:
            is_free_here[here] = is_free_there[there] = False
            num_matched += 1
    return num_matched >= _MOST_OBJECTS * most


def split_by_objects(labels: np.ndarray, objects: Callable[[int], Objects]) -> np.ndarray:
    """Returns labels of groups that agree in their objects too, -1 for what is alone; they divide the given groups.

    Each image joins the group whose first image shows the same objects, the most similar one.

    Args:
      labels: the same number for images that look alike, -1 for those that say nothing.
      objects: position → what is on the image; asked for images that look like another only.
    """
    labels_by_objects = np.full(len(labels), -1)
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    for group in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(group) > 1:
            firsts = _first_equal([objects(position) for position in group.tolist()])
            labels_by_objects[group] = group[firsts]
    return labels_by_objects


def _first_equal(images: Sequence[Objects]) -> list[int]:
    """Returns for each of some images the first one that shows the same objects, which may be itself."""
    features = np.array([_feature(image) for image in images])
    firsts: list[int] = []
    leaders: list[int] = []
    for index, image in enumerate(images):
        found = index
        if leaders:
            distances = np.abs(features[leaders] - features[index]).max(axis=1)
            nearest = np.argsort(distances, kind="stable")[:_CLOSER_LOOKS]
            near = (leaders[place] for place in nearest.tolist() if distances[place] <= _FAR)
            found = next((leader for leader in near if is_same(images[leader], image)), index)
        if found == index:
            leaders.append(index)
        firsts.append(found)
    return firsts


def _feature(image: Objects) -> np.ndarray:
    return image.boxes.mean(axis=0) if len(image.boxes) else np.zeros(4)


def _overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns (n, m): intersection over union of every box with every other."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
