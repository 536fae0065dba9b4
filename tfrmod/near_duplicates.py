"""Which photos show the same: a small number for each picture, and the groups of those that nearly agree."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from tfrmod.same_objects import Objects, split_by_objects

HASH_BITS = 64
NEAR = 4
"""Bits by which photos of one motif may differ: a copy saved anew, made smaller or a little brighter stays below."""
_SIDE = 8
_ENOUGH = 64  # Pixels of the shorter side.
_REDUCIBLE = ("L", "RGB", "RGBA", "CMYK", "LA")
# Photos that share a band but lie further apart in its order are not compared; only look-alikes by the hundred are hit.
_MOST_NEIGHBOURS = 512
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


def difference_hash(picture: Image.Image) -> int:
    """Returns 64 bits, one for each place of an 8x8 grid: whether the picture gets darker there, from left to right.

    Size, quality and brightness change few of them (dHash; Krawetz, 2013).

    Args:
      picture: of any size and mode; a picture decoded at an eighth will do.
    """
    # Reduced first by a whole number, as a JPEG decoded roughly is: the quick way through a large picture.
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
    """Returns the groups of positions whose pictures nearly agree, two or more in each.

    Near ones are found by bands: of `max_distance` + 1 runs of bits, two near
    hashes have at least one in common. A group grows along near pairs, but two
    groups are joined only where their first members are not too far from each
    other: so a long row of pictures, each like the next, does not become one.
    A picture of next to no structure, grey fog, says nothing and is in no group.

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
    """Returns the groups of positions whose photos are equal or nearly so, two or more in each, as arrays.

    Args:
      identities: equal for equal photos only, part of their bytes' hash for example.
      hashes: as `near_groups` has them.
      max_distance: as `near_groups` has it.
      objects: position → what is on the image; near ones must show the same.
        None takes the hash alone.
    """
    near = _near_labels(hashes, max_distance)
    if objects is not None:
        near = split_by_objects(near, objects)
    _, equal = np.unique(np.asarray(identities, dtype=np.uint64), return_inverse=True)
    # Equal photos have one label already; what is left is to join the labels that meet in a near group.
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
    speaks = np.minimum(ones, HASH_BITS - ones) >= 2 * max(1, max_distance)
    parents: dict[int, int] = {}
    for one, other in _near_pairs(values, np.flatnonzero(speaks), max_distance):
        first, second = _root(parents, one), _root(parents, other)
        if (int(values[first]) ^ int(values[second])).bit_count() <= 2 * max_distance:
            _join(parents, first, second)
    return np.where(speaks, _firsts(parents, len(values)), -1)[inverse]


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    """Returns the positions of each label, 0 and above, that occurs more than once; in order of their first."""
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    groups = [group for group in np.split(order, bounds) if len(group) > 1] if len(order) > len(bounds) + 1 else []
    return sorted(groups, key=lambda group: int(group[0]))


def _near_pairs(values: np.ndarray, speaking: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    """Returns pairs of indices into `values`, the nearest pairs first."""
    found = [np.empty((0, 3), np.int64)]
    for band in _bands(values[speaking], max_distance + 1):
        sorting = np.argsort(band, kind="stable")
        order, ordered = speaking[sorting], band[sorting]
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
    """Returns the first of the group that `index` is in; who has no parent is alone or first."""
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
