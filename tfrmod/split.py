"""Which photo is for training, which for validation, which for the test."""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tfrmod.errors import DatasetError

SPLITS = ("train", "val", "test")
_NEGATIVE = ""  # Photos without objects are a class of their own here: every side should see some.


class Fractions(NamedTuple):
    """Shares of all photos; what remains is validation."""

    train: float
    test: float


def chosen_sets(
    sets: Mapping[str, Sequence[int]], train_set: str | None, val_set: str | None
) -> tuple[str, str] | None:
    """Returns the names of the data set's own lists to train and to validate on.

    Unasked, trainval goes with test, or else train with val; None where the
    data set brings neither pair.

    Raises:
      DatasetError: a list that was asked for is not there.
    """
    if train_set is None and val_set is None:
        return next((pair for pair in (("trainval", "test"), ("train", "val")) if sets.keys() >= set(pair)), None)
    train = train_set or ("trainval" if val_set == "test" and "trainval" in sets else "train")
    val = val_set or ("test" if train == "trainval" else "val")
    for flag, name in (("--train_set", train), ("--val_set", val)):
        if name not in sets:
            found = f"Lists found: {', '.join(sorted(sets))}." if sets else "It brings no lists; leave the flag out."
            raise DatasetError(
                f"{flag}={name} needs a list ImageSets/Main/{name}.txt that names photos of this data set. {found}"
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


def stratified(classes: Sequence[Collection[str]], sizes: Sequence[int], seed: int) -> list[list[int]]:
    """Returns the positions of `classes` divided into parts of exactly these sizes.

    Iterative stratification (Sechidis et al., 2011): the rarest class is dealt
    out first, each of its photos to the part that lacks it most; so every part
    gets its share of every class. A class of fewer photos than a fair share
    asks for is still given to every part that it suffices for.

    Args:
      classes: the classes on each photo.
      sizes: photos of each part; their sum is len(classes).
      seed: decides among equals.
    """
    order = list(range(len(classes)))
    random.Random(seed).shuffle(order)
    members: dict[str, list[int]] = {}
    for index in order:
        for name in set(classes[index]) or {_NEGATIVE}:
            members.setdefault(name, []).append(index)
    total = max(1, len(classes))
    wanted = {
        name: [_share(len(indices), size / total, sum(map(bool, sizes))) for size in sizes]
        for name, indices in members.items()
    }
    remaining = {name: len(indices) for name, indices in members.items()}
    room = list(sizes)
    parts: list[list[int]] = [[] for _ in sizes]
    is_dealt = [False] * len(classes)
    while remaining:
        rarest = min(remaining, key=lambda name: (remaining[name], name))
        for index in members[rarest]:
            if is_dealt[index]:
                continue
            open_parts = [part for part in range(len(sizes)) if room[part] > 0]
            part = max(open_parts, key=lambda part: (wanted[rarest][part], room[part], -part))
            parts[part].append(index)
            is_dealt[index] = True
            room[part] -= 1
            for name in set(classes[index]) or {_NEGATIVE}:
                wanted[name][part] -= 1
                if name in remaining:
                    remaining[name] -= 1
        del remaining[rarest]
    return [sorted(part) for part in parts]


def _share(count: int, fraction: float, num_parts: int) -> float:
    if fraction == 0:
        return 0.0
    return max(count * fraction, 1.0) if count >= num_parts else count * fraction
