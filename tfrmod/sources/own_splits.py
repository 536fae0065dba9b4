"""Splits shipped with the dataset, resolved in one place for every format.

The precedence: what the format itself says (data.yaml, a column, the names of
COCO's files); lists of ImageSets/Main; other lists; the names of folders. What
says otherwise and is not followed is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tfrmod.problems import Problem
from tfrmod.sources.files import list_files
from tfrmod.sources.source import Entry, Listing
from tfrmod.sources.split_lists import Lists, image_sets, other_lists
from tfrmod.sources.split_names import sets_of_folders
from tfrmod.split import chosen_sets

_TRAINED = {"train": True, "trainval": True, "val": False, "test": False}


class _SplitEvidence(NamedTuple):
    """One source of splits, such as lists or folders."""

    title: str
    lists: Lists


def with_splits(folder: Path, listing: Listing) -> Listing:
    """Returns the listing with the sets that the dataset is divided into.

    The first sign that names a set to train on and one to validate on decides;
    sets that it does not have, such as test, are added from the others.

    Args:
      folder: the dataset.
      listing: as its format gives it.
    """
    if listing.is_unlabelled:
        return listing
    signs, notes = _split_evidence(folder, listing)
    first = next((sign for sign in signs if chosen_sets(sign.lists.sets, None, None)), None)
    if first is None:
        return _completed(listing, signs, notes)
    sets = dict(first.lists.sets)
    origins = {name: first.lists.origins.get(name, first.title) for name in sets}
    problems = dict(first.lists.problems)
    for sign in signs:
        if sign is not first:
            notes += _differing(first, sign, listing.entries)
            _add_sets(sign, sets, origins, problems)
    return replace(listing, sets=sets, set_problems=problems, set_origins=origins, problems=(*listing.problems, *notes))


def _split_evidence(folder: Path, listing: Listing) -> tuple[list[_SplitEvidence], list[Problem]]:
    """Returns all that tells how the images are divided, the most explicit first, and a note on what cannot."""
    texts = list_files(folder).txt
    entries = listing.entries
    others, notes = other_lists(folder, texts, entries), []
    if _is_of_folds(others):
        message = "the lists of images train and validate on the same images, as those of several folds do"
        notes.append(Problem("split_not_followed", others.origins["train"], message))
        others = Lists({}, {}, {})
    folders = sets_of_folders(entries)
    # A format that went by folders alone says no more than they do, and lists come before them.
    own = {} if listing.sets == folders else listing.sets
    signs = [
        _SplitEvidence("the annotations", Lists(own, listing.set_problems, {})),
        _SplitEvidence("ImageSets/Main", image_sets(folder, texts, entries)),
        _SplitEvidence("the lists of images", others),
        _SplitEvidence("the names of folders", Lists(folders, {}, {})),
    ]
    return [sign for sign in signs if sign.lists.sets or sign.lists.problems], notes


def _is_of_folds(lists: Lists) -> bool:
    """Returns whether most images to validate or test on are to be trained on too."""
    train = set(lists.sets.get("train", ()))
    held_out = set(lists.sets.get("val", ())) | set(lists.sets.get("test", ()))
    return 2 * len(train & held_out) > len(held_out)


def _add_sets(
    sign: _SplitEvidence,
    sets: dict[str, tuple[int, ...]],
    origins: dict[str, str],
    problems: dict[str, tuple[Problem, ...]],
) -> None:
    """Adds the sets that are not there yet, without the images that are in one."""
    taken = {index for members in sets.values() for index in members}
    for name, members in sign.lists.sets.items():
        free = tuple(index for index in members if index not in taken)
        if name not in sets and free:
            sets[name] = free
            origins[name] = sign.lists.origins.get(name, sign.title)
    for name, found in sign.lists.problems.items():
        problems[name] = problems.get(name, ()) + tuple(each for each in found if each not in problems.get(name, ()))


def _differing(first: _SplitEvidence, other: _SplitEvidence, entries: Sequence[Entry]) -> list[Problem]:
    """Returns a note where another sign trains on what the first holds back, or the reverse."""
    followed, ignored = _sides(first.lists.sets), _sides(other.lists.sets)
    differing = [index for index in followed.keys() & ignored.keys() if not followed[index] & ignored[index]]
    if not differing:
        return []
    image = entries[min(differing)].image
    message = f"{other.title} say otherwise than {first.title} of {len(differing)} images; {first.title} are followed"
    return [Problem("split_not_followed", image, message)]


def _sides(sets: Mapping[str, Sequence[int]]) -> dict[int, set[bool]]:
    """Returns {image: whether it is trained on, or both}."""
    sides: dict[int, set[bool]] = {}
    for name, members in sets.items():
        if name in _TRAINED:
            for index in members:
                sides.setdefault(index, set()).add(_TRAINED[name])
    return sides


def _completed(listing: Listing, signs: Sequence[_SplitEvidence], notes: list[Problem]) -> Listing:
    """Returns the listing where no sign names both sides: nothing is trained on that the dataset holds back.

    One that names all images, a single folder train, says nothing.
    """
    sets: dict[str, tuple[int, ...]] = {}
    origins: dict[str, str] = {}
    problems: dict[str, tuple[Problem, ...]] = {}
    for sign in signs:
        _add_sets(sign, sets, origins, problems)
    named = [name for name in _TRAINED if name in sets]
    rest = set(range(len(listing.entries))).difference(*sets.values())
    if named and rest and not chosen_sets(sets, None, None):
        image, origin = listing.entries[min(rest)].image, origins[named[0]]
        if "train" in sets or "trainval" in sets:
            message = f"{origin}: {named[0]}, and no set to validate on; divided by the ratio instead"
            notes.append(Problem("split_not_followed", origin, message))
        else:
            sets["train"] = tuple(sorted(rest))
            origins["train"] = f"the images outside {origin}"
            message = f"{origin}: {' and '.join(named)}, and no set to train on; the other {len(rest)} images are taken"
            notes.append(Problem("split_completed", image, message))
    return replace(listing, sets=sets, set_problems=problems, set_origins=origins, problems=(*listing.problems, *notes))
