"""Splitting of a dataset into training, validation and test images: by lists, split folders, or a ratio."""

import itertools
import random
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfrmod.convert_options import ConvertOptions
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.manifest import SPLITS
from tfrmod.near_duplicates import Objects, twin_groups
from tfrmod.problems import Problem, ProblemLog
from tfrmod.sources import Listing

_FEW = 10
_MANY = 50
_SKEWED = 1.5


@dataclass(frozen=True, kw_only=True)
class ImageTable:
    """Data of the usable images for the split; all sequences are parallel."""

    positions: np.ndarray
    """Index in the listing, ascending."""
    classes: Sequence[Collection[str]]
    identities: np.ndarray
    """uint64; equal for identical files."""
    image_hashes: np.ndarray
    """uint64; `near_duplicates.difference_hash`, 0 if there is none."""
    filename: Callable[[int], str]
    """Returns the name for a position."""
    objects: Callable[[int], Objects] | None = None
    """Returns the objects for a position, in which near-duplicates must agree; None compares only the image_hash."""
    num_objects: np.ndarray | None = None
    """Number of objects of each image; None disables checks of it."""


def split_dataset(
    images: ImageTable, listing: Listing, options: ConvertOptions, log: ProblemLog
) -> dict[str, np.ndarray]:
    """Returns the positions of the images of each non-empty split, ascending, by split name.

    If the dataset is split by fractions, near-duplicates stay together. Lists of
    the dataset are used unchanged; near-duplicates in both splits are reported.

    Args:
      images: the usable images.
      listing: its lists are used, and whether anything is labelled; entries are ignored.
      options: of the conversion.
      log: gets problems of the lists and of the split.

    Raises:
      DatasetError: a requested list does not exist, or has no usable image.
    """
    if listing.is_unlabelled:
        return {"test": images.positions}
    chosen = chosen_sets(listing.sets, options.train_set, options.val_set) if options.image_sets else None
    if options.image_sets:
        log.extend(_named_in_vain(listing, chosen or ()))
    objects = images.objects
    twins = twin_groups(
        images.identities,
        images.image_hashes,
        objects=None if objects is None else lambda rank: objects(int(images.positions[rank])),
    )
    if chosen is None:
        fractions = Fractions(options.train_valid_split, options.test_split)
        sizes = fraction_sizes(len(images.positions), fractions)
        kept = twins if options.group_near_duplicates else _equal_groups(images)
        parts = _stratified(images, np.arange(len(images.positions)), sizes, kept, options.seed, log)
        log.extend(_skewed(images, parts, sizes, kept))
        if not options.group_near_duplicates:
            log.extend(_leaks(images, parts, twins))
    else:
        parts = _listed(images, listing, chosen, twins, options, log)
        log.extend(_leaks(images, parts, twins))
    named = dict(zip(SPLITS, parts, strict=True))
    log.extend(_thin(named, options))
    return {name: images.positions[part] for name, part in named.items() if len(part)}


def _listed(
    images: ImageTable,
    listing: Listing,
    chosen: tuple[str, str],
    twins: Sequence[np.ndarray],
    options: ConvertOptions,
    log: ProblemLog,
) -> list[np.ndarray]:
    """Returns train, val and test by the lists, test images taken from val if requested; as ranks."""
    train, val = (np.isin(images.positions, listing.sets[name]) for name in chosen)
    in_both = images.positions[train & val].tolist()
    log.extend(Problem("image_in_two_sets", images.filename(position)) for position in in_both)
    log.extend(_left_out(images, listing, chosen, ~train & ~val))
    is_in_both = (train & val).any()
    val &= ~train
    for flag, name, members in zip(("--train_set", "--val_set"), chosen, (train, val), strict=True):
        if not members.any():
            raise DatasetError(
                f"The set {name}, from {listing.set_origins.get(name, 'the dataset')} ({flag}) leaves no usable image "
                f"for its side" + (": every one of them is in the training list too." if is_in_both else ".")
            )
    order = np.flatnonzero(val)
    num_test = min(round(len(images.positions) * options.test_split), len(order) - 1)
    parts = _stratified(images, order, [len(order) - num_test, num_test], twins, options.seed, log)
    return [np.flatnonzero(train), *parts]


def _named_in_vain(listing: Listing, chosen: Sequence[str]) -> list[Problem]:
    """Returns the missing images of the sets: faults for sets in use, notes for the others.

    Some exports name a folder of test images that they do not contain.
    """
    return [
        problem if name in chosen else problem._replace(code="set_missing", message=f"{problem.message} (set {name})")
        for name, problems in listing.set_problems.items()
        for problem in problems
    ]


def _left_out(images: ImageTable, listing: Listing, chosen: tuple[str, str], is_left: np.ndarray) -> list[Problem]:
    """Returns a note for each image that is in no chosen set: it is in another one, or in none."""
    others = {name: set(members) for name, members in listing.sets.items() if name not in chosen}
    problems = []
    for position in images.positions[is_left].tolist():
        name = next((name for name, members in others.items() if position in members), None)
        code, message = ("set_not_listed", "") if name is None else ("set_reserved", f"in the set {name}")
        problems.append(Problem(code, images.filename(position), message))
    return problems


def _stratified(
    images: ImageTable,
    order: np.ndarray,
    sizes: Sequence[int],
    twins: Sequence[np.ndarray],
    seed: int,
    log: ProblemLog,
) -> list[np.ndarray]:
    """Splits images, given by rank; keeps near-duplicates together unless a part would be empty."""
    classes = [images.classes[rank] for rank in order]
    place = np.full(len(images.positions), -1)
    place[order] = np.arange(len(order))
    groups = [places for group in twins if len(places := place[group][place[group] >= 0]) > 1]
    parts = stratified(classes, sizes, seed, groups)
    if any(size and not len(part) for size, part in zip(sizes, parts, strict=True)):
        largest = max(groups, key=len)
        name = images.filename(int(images.positions[order[largest[0]]]))
        log.add(Problem("likeness_divided", name, f"{len(largest)} of {len(order)} images look like this one"))
        parts = stratified(classes, sizes, seed)
    return [order[part] for part in parts]


def _equal_groups(images: ImageTable) -> list[np.ndarray]:
    """Returns the groups of identical files."""
    return twin_groups(images.identities, np.zeros(len(images.positions), np.uint64))


def _skewed(
    images: ImageTable, parts: Sequence[np.ndarray], sizes: Sequence[int], groups: Sequence[np.ndarray]
) -> list[Problem]:
    """Returns a note for each split whose data differ because near-duplicates are kept together."""
    if not any(len(group) for group in groups):
        return []
    problems = []
    for name, part, size in zip(SPLITS, parts, sizes, strict=True):
        message = ""
        if size >= _FEW and not size / _SKEWED <= len(part) <= size * _SKEWED:
            message = f"{counted(len(part), 'image')}, where {size} were due"
        elif name != "train" and images.num_objects is not None and min(len(part), len(parts[0])) >= _FEW:
            here, there = (float(images.num_objects[ranks].mean()) for ranks in (part, parts[0]))
            if max(here, there) > _SKEWED * min(here, there):
                message = f"{here:.1f} objects an image, where training has {there:.1f}"
        if message:
            largest = max(map(len, groups))
            problems.append(Problem("split_skewed", name, f"{message}; {largest} images look alike and stay together"))
    return problems


def _leaks(images: ImageTable, parts: Sequence[np.ndarray], twins: Sequence[np.ndarray]) -> list[Problem]:
    """Returns a note for each validation or test image that is a near-duplicate of a training image."""
    side = np.full(len(images.positions), -1)
    for number, part in enumerate(parts):
        side[part] = number
    problems = []
    for group in twins:
        trained = [rank for rank in group if side[rank] == 0]
        for rank in group:
            if trained and side[rank] > 0:
                name, twin = (images.filename(int(images.positions[index])) for index in (rank, trained[0]))
                is_equal = any(images.identities[rank] == images.identities[index] for index in trained)
                problems.append(Problem("split_leak", name, f"{'equal to' if is_equal else 'looks like'} {twin}"))
    return problems


def _thin(parts: dict[str, np.ndarray], options: ConvertOptions) -> list[Problem]:
    """Returns a note for each evaluation split that is tiny although there are enough images."""
    total = sum(map(len, parts.values()))
    asked = f"train_valid_split={options.train_valid_split:g}, test_split={options.test_split:g}"
    return [
        Problem("split_thin", name, f"{len(parts[name])} of {total} images ({asked})")
        for name in ("val", "test")
        if 0 < len(parts[name]) < _FEW and total >= _MANY
    ]


_PAIRS = (("trainval", "test"), ("train", "val"), ("train", "test"))
_NEGATIVE = ""  # Images without objects are treated as a class, so that each split gets some.


class Fractions(NamedTuple):
    """Fractions of all images; the remainder is validation."""

    train: float
    test: float


def chosen_sets(
    sets: Mapping[str, Sequence[int]], train_set: str | None, val_set: str | None
) -> tuple[str, str] | None:
    """Returns the names of the dataset's lists for training and validation.

    By default trainval with test, or else train with val, or else train with
    test; None if the dataset has none of these pairs.

    Raises:
      DatasetError: a requested list does not exist.
    """
    if train_set is None and val_set is None:
        return next((pair for pair in _PAIRS if sets.keys() >= set(pair)), None)
    train = train_set or ("trainval" if val_set == "test" and "trainval" in sets else "train")
    val = val_set or ("test" if train == "trainval" or ("test" in sets and "val" not in sets) else "val")
    for flag, name in (("--train_set", train), ("--val_set", val)):
        if name not in sets:
            found = f"Lists found: {', '.join(sorted(sets))}." if sets else "It has no lists; omit the flag."
            raise DatasetError(
                f"{flag}={name} needs a set of that name in the dataset: a list such as ImageSets/Main/{name}.txt or "
                f"{name}.txt, an entry of data.yaml, or a folder {name}, with images that can be used. {found}"
            )
    return train, val


def fraction_sizes(num_images: int, fractions: Fractions) -> list[int]:
    """Returns the numbers of images for train, val and test.

    Rounded so that no requested split is empty while there are images for it.
    """
    test = round(num_images * fractions.test)
    val = num_images - round(num_images * fractions.train) - test
    wants_test = fractions.test > 0
    wants_val = 1 - fractions.train - fractions.test > 1e-9
    if wants_val and num_images >= 2:
        val = max(1, val)
    if wants_test and num_images >= 2 + wants_val:
        test = max(1, test)
    val = max(0, min(val, num_images - 1)) if wants_val else 0
    test = max(0, min(test, num_images - 1 - val))
    return [num_images - val - test, val, test]


def stratified(
    classes: Sequence[Collection[str]],
    sizes: Sequence[int],
    seed: int,
    groups: Sequence[Sequence[int] | np.ndarray] = (),
) -> list[np.ndarray]:
    """Returns the positions of `classes` split into parts of these sizes, ascending in each.

    Iterative stratification (Sechidis et al., 2011): images of the rarest class
    are assigned first, each to the part with the largest deficit; so every part
    gets its share of each class. A class with fewer images than its shares
    require is still assigned to as many parts as possible.

    Args:
      classes: the classes of each image.
      sizes: number of images of each part; their sum is len(classes). Exact
        unless a group prevents it.
      seed: decides ties.
      groups: positions that stay together, each in at most one group.
    """
    mates = {int(group[0]): group for group in groups}
    is_led = np.zeros(len(classes), bool)
    for group in groups:
        is_led[group[1:]] = True
    order = array("q", range(len(classes)))  # An array, because a list takes 36 bytes per number.
    random.Random(seed).shuffle(order)
    members: dict[str, array[int]] = {}
    for index in order:
        if not is_led[index]:
            for name in _names(classes, mates.get(index, (index,))):
                members.setdefault(name, array("q")).append(index)
    remaining = {name: sum(len(mates.get(index, "1")) for index in indices) for name, indices in members.items()}
    total = max(1, len(classes))
    wanted = {
        name: [_share(count, size / total, sum(map(bool, sizes))) for size in sizes]
        for name, count in remaining.items()
    }
    capacity = list(sizes)
    parts = [array("q") for _ in sizes]
    is_dealt = bytearray(len(classes))
    while remaining:
        rarest = min(remaining, key=lambda name: (remaining[name], name))
        units = members.pop(rarest)
        groups_first = sorted((index for index in units if index in mates), key=lambda index: -len(mates[index]))
        # The largest groups first, while there is capacity for them.
        for index in itertools.chain(groups_first, units):
            if is_dealt[index]:
                continue
            unit = mates.get(index, (index,))
            part = _part_for(len(unit), wanted[rarest], capacity)
            parts[part].extend(unit)
            is_dealt[index] = 1
            capacity[part] -= len(unit)
            for name in _names(classes, unit):
                wanted[name][part] -= len(unit)
                if name in remaining:
                    remaining[name] -= len(unit)
        del remaining[rarest]
    return [np.sort(np.array(part, np.int64)) for part in parts]


def _names(classes: Sequence[Collection[str]], unit: Sequence[int] | np.ndarray) -> set[str]:
    return set().union(*(classes[index] for index in unit)) or {_NEGATIVE}


def _part_for(size: int, wanted: Sequence[float], capacity: Sequence[int]) -> int:
    """Returns the part with the largest deficit of the class among those with capacity, or with the most capacity."""
    fits = [part for part in range(len(capacity)) if capacity[part] >= size]
    if not fits:
        return max(range(len(capacity)), key=lambda part: (capacity[part], -part))
    return max(fits, key=lambda part: (wanted[part], capacity[part], -part))


def _share(count: int, fraction: float, num_parts: int) -> float:
    if fraction == 0:
        return 0.0
    return max(count * fraction, 1.0) if count >= num_parts else count * fraction
