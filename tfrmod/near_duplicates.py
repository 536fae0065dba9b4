"""Near-duplicate images: perceptual hashes, groups of similar hashes, and comparison of the annotated objects."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfrmod.annotated_image import AnnotatedImage

HASH_BITS = 64
NEAR = 4
"""Largest number of differing bits of near-duplicates: a copy saved again, downscaled or brightened has less."""
_SIDE = 8
_ENOUGH = 64  # Pixels of the shorter side.
_REDUCIBLE = ("L", "RGB", "RGBA", "CMYK", "LA")
# Images with a common band that are further apart in its order are not compared; this only affects hundreds of copies.
_MOST_NEIGHBOURS = 512
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)
_SAME_PLACE = 0.5
"""IoU from which two boxes of one class mark the same object."""
_MOST_OBJECTS = 0.8
"""Fraction of the objects that must have a counterpart; a second annotator misses some."""
_FAR = 0.15  # Largest shift of the mean box of matching images, relative to the image's sides.
_CLOSER_LOOKS = 8


class Objects(NamedTuple):
    """Objects of one image."""

    names: tuple[str, ...]
    boxes: np.ndarray
    """(n, 4): y0, x0, y1, x1 as fractions of the image's sides."""


def difference_hash(picture: Image.Image) -> int:
    """Returns a hash of 64 bits, one for each cell of an 8x8 grid: whether the image gets darker from left to right.

    Size, quality and brightness change few of them (dHash; Krawetz, 2013).

    Args:
      picture: of any size and mode, also decoded at an eighth of its size.
    """
    # First reduced by an integer factor, like a JPEG that is decoded at an eighth: fast for large images.
    factor = max(1, min(picture.size) // _ENOUGH)
    grey = (picture.reduce(factor) if factor > 1 and picture.mode in _REDUCIBLE else picture).convert("L")
    small = grey.resize((_SIDE + 1, _SIDE), Image.Resampling.BILINEAR)
    values = np.frombuffer(small.tobytes(), np.uint8).reshape(_SIDE, _SIDE + 1)  # Faster than np.asarray.
    return int.from_bytes(np.packbits(values[:, :-1] > values[:, 1:]).tobytes(), "big")


def near_groups(
    hashes: Sequence[int] | np.ndarray,
    *,
    max_distance: int = NEAR,
    objects: Callable[[int], Objects] | None = None,
) -> list[list[int]]:
    """Returns the groups of positions of near-duplicates, two or more in each.

    Candidates are found by bands: if the bits are split into `max_distance` + 1
    bands, two similar hashes have at least one band in common. Groups grow by
    similar pairs, but two groups are only joined if their first members are not
    too far apart: so a long sequence of images, each similar to the next, does
    not become one group. An image with little structure, such as gray fog, is in
    no group.

    Args:
      hashes: from `difference_hash`.
      max_distance: largest number of different bits of a pair.
      objects: position → objects of the image, which must agree too. None
        compares only the hashes.

    Raises:
      ValueError: `max_distance` leaves bands without bits.
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
    """Returns the groups of positions of equal images and near-duplicates, two or more in each, as arrays.

    Args:
      identities: equal for equal images only, for example part of the hash of their bytes.
      hashes: see `near_groups`.
      max_distance: see `near_groups`.
      objects: position → objects of the image, which must agree for
        near-duplicates. None compares only the hashes.
    """
    near = _near_labels(hashes, max_distance)
    if objects is not None:
        near = split_by_objects(near, objects)
    _, equal = np.unique(np.asarray(identities, dtype=np.uint64), return_inverse=True)
    # Equal images have one label already; now the labels that share a group of near-duplicates are joined.
    meeting = np.unique((near * len(equal) + equal)[near >= 0])
    groups, labels = np.divmod(meeting, max(1, len(equal)))
    parents: dict[int, int] = {}
    for index in np.flatnonzero(groups[1:] == groups[:-1]).tolist():
        _join(parents, int(labels[index]), int(labels[index + 1]))
    return _groups(_firsts(parents, len(equal))[equal])


def _near_labels(hashes: Sequence[int] | np.ndarray, max_distance: int) -> np.ndarray:
    """Returns a label for each hash, equal within a group of near-duplicates; -1 for a hash without information."""
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
    """Returns the positions of each label of at least 0 that occurs more than once, ordered by the first position."""
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
    """Returns the number of set bits of each value."""
    return _ONES[values.view(np.uint16)].reshape(-1, HASH_BITS // 16).sum(axis=1, dtype=np.uint8)


def _bands(values: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yields `count` disjoint bands of bits of all hashes, in the smallest sufficient integer type."""
    bounds = [HASH_BITS * index // count for index in range(count + 1)]
    for start, end in itertools.pairwise(bounds):
        band = (values >> np.uint64(start)) & np.uint64((1 << (end - start)) - 1)
        yield band.astype(np.min_scalar_type((1 << (end - start)) - 1))


def _join(parents: dict[int, int], one: int, other: int) -> None:
    """Joins two groups (union-find); the first member of the result is the smaller of their first members."""
    first, second = sorted((_root(parents, one), _root(parents, other)))
    if first != second:
        parents[second] = first


def _root(parents: dict[int, int], index: int) -> int:
    """Returns the first member of the group of `index`; an index without a parent is itself the first."""
    while index in parents:
        above = parents[index]
        if above in parents:
            parents[index] = parents[above]
        index = above
    return index


def _firsts(parents: dict[int, int], count: int) -> np.ndarray:
    """Returns the first member of the group of each of `count` indices."""
    firsts = np.arange(count)
    for index in list(parents):
        firsts[index] = _root(parents, index)
    return firsts


def objects_of(image: AnnotatedImage) -> Objects:
    """Returns the objects of an image, with boxes as fractions of its sides."""
    boxes = np.array([obj.box for obj in image.objects], float).reshape(-1, 4)
    sides = np.array([image.height, image.width] * 2, float)
    return Objects(tuple(obj.name for obj in image.objects), boxes / np.maximum(sides, 1.0))


def is_same(one: Objects, other: Objects) -> bool:
    """Returns whether nearly all objects of each image have a counterpart on the other; also if both have none."""
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
    """Returns labels of groups that also agree in their objects, -1 for single images; a refinement of `labels`.

    Each image joins the group whose first image has the same objects, the most similar one.

    Args:
      labels: equal for similar images, -1 for those without information.
      objects: position → objects of the image; only called for similar images.
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
    """Returns for each of some images the first one with the same objects, which may be itself."""
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
    """Returns (n, m): IoU of each box of one with each box of the other."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
