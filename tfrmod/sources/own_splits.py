"""Splits shipped with the dataset, for all formats.

Precedence: the format itself (data.yaml, a column, the names of COCO's files) >
lists of ImageSets/Main > other lists > the names of folders. Sources that
disagree and are not used are reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tfrmod.counted import counted
from tfrmod.problems import Problem
from tfrmod.sources.files import list_files
from tfrmod.sources.source import Entry, Listing
from tfrmod.sources.split_lists import Lists, image_sets, other_lists
from tfrmod.sources.split_names import sets_of_folders
from tfrmod.split import chosen_sets

_TRAINED = {"train": True, "trainval": True, "val": False, "test": False}


class _SplitEvidence(NamedTuple):
    """One definition of splits, such as lists or folders."""

    title: str
    lists: Lists


def with_splits(folder: Path, listing: Listing) -> Listing:
    """Returns the listing with the sets of the dataset.

    The first definition with a training and a validation set is used; sets that
    it lacks, such as test, are added from the others.

    Args:
      folder: the dataset.
      listing: from the source of its format.
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
    """Returns all definitions of splits, the most explicit first, and a note on unusable ones."""
    texts = list_files(folder).txt
    entries = listing.entries
    others, notes = other_lists(folder, texts, entries), []
    if _is_of_folds(others):
        message = "the lists of images train and validate on the same images, as those of several folds do"
        notes.append(Problem("split_not_followed", others.origins["train"], message))
        others = Lists({}, {}, {})
    folders = sets_of_folders(entries)
    # If the format's sets are those of folders, they add nothing to these, and lists take precedence over them.
    own = {} if listing.sets == folders else listing.sets
    signs = [
        _SplitEvidence("the annotations", Lists(own, listing.set_problems, {})),
        _SplitEvidence("ImageSets/Main", image_sets(folder, texts, entries)),
        _SplitEvidence("the lists of images", others),
        _SplitEvidence("the names of folders", Lists(folders, {}, {})),
    ]
    return [sign for sign in signs if sign.lists.sets or sign.lists.problems], notes


def _is_of_folds(lists: Lists) -> bool:
    """Returns whether most validation or test images are training images too."""
    train = set(lists.sets.get("train", ()))
    held_out = set(lists.sets.get("val", ())) | set(lists.sets.get("test", ()))
    return 2 * len(train & held_out) > len(held_out)


def _add_sets(
    sign: _SplitEvidence,
    sets: dict[str, tuple[int, ...]],
    origins: dict[str, str],
    problems: dict[str, tuple[Problem, ...]],
) -> None:
    """Adds the sets that do not exist yet, without the images that are in one."""
    taken = {index for members in sets.values() for index in members}
    for name, members in sign.lists.sets.items():
        free = tuple(index for index in members if index not in taken)
        if name not in sets and free:
            sets[name] = free
            origins[name] = sign.lists.origins.get(name, sign.title)
    for name, found in sign.lists.problems.items():
        problems[name] = problems.get(name, ()) + tuple(each for each in found if each not in problems.get(name, ()))


def _differing(first: _SplitEvidence, other: _SplitEvidence, entries: Sequence[Entry]) -> list[Problem]:
    """Returns a note if another definition trains on images that the first one holds out, or the reverse."""
    followed, ignored = _sides(first.lists.sets), _sides(other.lists.sets)
    differing = [index for index in followed.keys() & ignored.keys() if not followed[index] & ignored[index]]
    if not differing:
        return []
    image = entries[min(differing)].image
    message = f"{other.title} differ from {first.title} for {counted(len(differing), 'image')}; {first.title} are used"
    return [Problem("split_not_followed", image, message)]


def _sides(sets: Mapping[str, Sequence[int]]) -> dict[int, set[bool]]:
    """Returns {image: whether it is a training image, or both}."""
    sides: dict[int, set[bool]] = {}
    for name, members in sets.items():
        if name in _TRAINED:
            for index in members:
                sides.setdefault(index, set()).add(_TRAINED[name])
    return sides


def _completed(listing: Listing, signs: Sequence[_SplitEvidence], notes: list[Problem]) -> Listing:
    """Returns the listing completed if no definition has both sets: images that the dataset holds out are not trained.

    A definition that contains all images, a single folder train, is ignored.
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
            message = f"{origin}: {named[0]}, and no validation set; split by ratio instead"
            notes.append(Problem("split_not_followed", origin, message))
        else:
            sets["train"] = tuple(sorted(rest))
            origins["train"] = f"the images outside {origin}"
            message = f"{origin}: {' and '.join(named)}, and no training set; the other {len(rest)} images are used"
            notes.append(Problem("split_completed", image, message))
    return replace(listing, sets=sets, set_problems=problems, set_origins=origins, problems=(*listing.problems, *notes))
