import functools
import operator
import random

import pytest

from tfrmod import split
from tfrmod.errors import DatasetError
from tfrmod.split import Fractions, chosen_sets, fraction_sizes


def stratified(*arguments, **options) -> list[list[int]]:
    return [part.tolist() for part in split.stratified(*arguments, **options)]


@pytest.mark.parametrize(
    ("count", "train", "test", "sizes"),
    [
        (100, 0.8, 0.0, [80, 20, 0]),
        (100, 0.8, 0.05, [80, 15, 5]),
        (100, 0.8, 0.2, [80, 0, 20]),
        (100, 1.0, 0.0, [100, 0, 0]),
        (10, 0.99, 0.0, [9, 1, 0]),
        (3, 0.4, 0.3, [1, 1, 1]),
        (2, 0.8, 0.0, [1, 1, 0]),
        (1, 0.8, 0.1, [1, 0, 0]),
    ],
)
def test_split_sizes_follow_the_shares_and_no_wanted_side_is_empty(
    count: int, train: float, test: float, sizes: list[int]
) -> None:
    assert fraction_sizes(count, Fractions(train, test)) == sizes


def test_split_parts_have_their_sizes_and_share_everything() -> None:
    rng = random.Random(0)
    classes = [rng.choices("abcd", weights=(80, 15, 4, 1), k=rng.randrange(4)) for _ in range(500)]
    parts = stratified(classes, [350, 100, 50], seed=1)
    assert [len(part) for part in parts] == [350, 100, 50]
    assert sorted(functools.reduce(operator.iadd, parts, [])) == list(range(500))


def test_split_every_class_gets_its_share_on_both_sides() -> None:
    classes = [["common"]] * 80 + [["rare", "common"]] * 10 + [["two"]] * 2 + [[]] * 8
    train, val = stratified(classes, [80, 20], seed=3)
    count = {name: sum(name in classes[index] for index in val) for name in ("common", "rare", "two")}
    assert count["rare"] == 2
    assert count["two"] == 1
    assert 15 <= count["common"] <= 18
    assert sum(not classes[index] for index in val) in (1, 2)
    assert len(train) == 80


def test_split_groups_stay_together_and_the_sizes_are_still_kept() -> None:
    rng = random.Random(0)
    classes = [rng.choices("abc", weights=(8, 2, 1), k=rng.randrange(3)) for _ in range(300)]
    groups = [list(range(start, start + 2 + start % 5)) for start in range(0, 200, 10)]
    parts = stratified(classes, [240, 45, 15], 1, groups)
    assert [len(part) for part in parts] == [240, 45, 15]
    assert sorted(functools.reduce(operator.iadd, parts, [])) == list(range(300))
    for group in groups:
        assert sum(not set(part).isdisjoint(group) for part in parts) == 1


def test_split_group_larger_than_every_part_goes_to_the_largest() -> None:
    assert stratified([["a"]] * 10, [8, 2], 0, [list(range(10))]) == [list(range(10)), []]


def test_split_seed_decides_and_nothing_else() -> None:
    classes = [["a"], ["b"]] * 50
    assert stratified(classes, [80, 20], seed=5) == stratified(classes, [80, 20], seed=5)
    assert stratified(classes, [80, 20], seed=5) != stratified(classes, [80, 20], seed=6)


def test_split_no_images_make_empty_parts() -> None:
    assert stratified([], [0, 0], seed=0) == [[], []]


@pytest.mark.parametrize(
    ("found", "train", "val", "chosen"),
    [
        ("train val trainval test", None, None, ("trainval", "test")),
        ("train val trainval", None, None, ("train", "val")),
        ("trainval", None, None, None),
        ("train val test trainval", "train", None, ("train", "val")),
        ("train val test trainval", None, "test", ("trainval", "test")),
        ("train test", None, "test", ("train", "test")),
        ("mine yours", "mine", "yours", ("mine", "yours")),
    ],
)
def test_split_dataset_own_lists(
    found: str, train: str | None, val: str | None, chosen: tuple[str, str] | None
) -> None:
    assert chosen_sets(dict.fromkeys(found.split(), (0,)), train, val) == chosen


def test_split_list_that_is_asked_for_must_be_there() -> None:
    with pytest.raises(DatasetError, match=r"--val_set=test .*Lists found: train, val"):
        chosen_sets({"train": (0,), "val": (1,)}, "train", "test")
    with pytest.raises(DatasetError, match="has no lists"):
        chosen_sets({}, "train", None)
