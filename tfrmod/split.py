"""Which photo is for training, which for validation, which for the test."""

import itertools
import random
from array import array
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfrmod.errors import DatasetError

SPLITS = ("train", "val", "test")
_PAIRS = (("trainval", "test"), ("train", "val"), ("train", "test"))
_NEGATIVE = ""  # Photos without objects are a class of their own here: every side should see some.


class Fractions(NamedTuple):
    """Shares of all photos; what remains is validation."""

    train: float
    test: float


def chosen_sets(
    sets: Mapping[str, Sequence[int]], train_set: str | None, val_set: str | None
) -> tuple[str, str] | None:
    """Returns the names of the data set's own lists to train and to validate on.

    Unasked, trainval goes with test, or else train with val, or else with
    test; None where the data set brings none of these pairs.

    Raises:
      DatasetError: a list that was asked for is not there.
    """
    if train_set is None and val_set is None:
        return next((pair for pair in _PAIRS if sets.keys() >= set(pair)), None)
    train = train_set or ("trainval" if val_set == "test" and "trainval" in sets else "train")
    val = val_set or ("test" if train == "trainval" or ("test" in sets and "val" not in sets) else "val")
    for flag, name in (("--train_set", train), ("--val_set", val)):
        if name not in sets:
            found = f"Lists found: {', '.join(sorted(sets))}." if sets else "It brings no lists; leave the flag out."
            raise DatasetError(
                f"{flag}={name} needs a set of that name in the data set: a list such as ImageSets/Main/{name}.txt or "
                f"{name}.txt, an entry of data.yaml, or a folder {name}, with images that can be used. {found}"
            )
    return train, val


def fraction_sizes(num_images: int, fractions: Fractions) -> list[int]:
    """Returns how many of `num_images` photos go to train, val and test.

    Rounded so that no side that is wanted stays empty while there are photos
    for it.
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
    """Returns the positions of `classes` divided into parts of these sizes, ascending in each.

    Iterative stratification (Sechidis et al., 2011): the rarest class is dealt
    out first, each of its photos to the part that lacks it most; so every part
    gets its share of every class. A class of fewer photos than a fair share
    asks for is still given to every part that it suffices for.

    Args:
      classes: the classes on each photo.
      sizes: photos of each part; their sum is len(classes). Kept exactly
        unless a group is in the way.
      seed: decides among equals.
      groups: positions that stay together, each in one group at most.
    """
    mates = {int(group[0]): group for group in groups}
    is_led = np.zeros(len(classes), bool)
    for group in groups:
        is_led[group[1:]] = True
    order = array("q", range(len(classes)))  # Arrays: a list takes 36 bytes for each number.
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
    room = list(sizes)
    parts = [array("q") for _ in sizes]
    is_dealt = bytearray(len(classes))
    while remaining:
        rarest = min(remaining, key=lambda name: (remaining[name], name))
        units = members.pop(rarest)
        groups_first = sorted((index for index in units if index in mates), key=lambda index: -len(mates[index]))
        # The largest groups first, while there is room for them.
        for index in itertools.chain(groups_first, units):
            if is_dealt[index]:
                continue
            unit = mates.get(index, (index,))
            part = _part_for(len(unit), wanted[rarest], room)
            parts[part].extend(unit)
            is_dealt[index] = 1
            room[part] -= len(unit)
            for name in _names(classes, unit):
                wanted[name][part] -= len(unit)
                if name in remaining:
                    remaining[name] -= len(unit)
        del remaining[rarest]
    return [np.sort(np.array(part, np.int64)) for part in parts]


def _names(classes: Sequence[Collection[str]], unit: Sequence[int] | np.ndarray) -> set[str]:
    return set().union(*(classes[index] for index in unit)) or {_NEGATIVE}


def _part_for(size: int, wanted: Sequence[float], room: Sequence[int]) -> int:
    """Returns the part that lacks the class most among those with room, or that with the most room."""
    fits = [part for part in range(len(room)) if room[part] >= size]
    if not fits:
        return max(range(len(room)), key=lambda part: (room[part], -part))
    return max(fits, key=lambda part: (wanted[part], room[part], -part))


def _share(count: int, fraction: float, num_parts: int) -> float:
    if fraction == 0:
        return 0.0
    return max(count * fraction, 1.0) if count >= num_parts else count * fraction
