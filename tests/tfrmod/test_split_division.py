import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tfrmod.convert_options import ConvertOptions
from tfrmod.near_duplicates import Objects
from tfrmod.problems import Problem, ProblemLog
from tfrmod.sources import Listing
from tfrmod.split import ImageTable, split_dataset

HALVES = ConvertOptions(train_valid_split=0.5)
LISTING = Listing(entries=())


def image_table(count: int, twins: dict[int, int] | None = None, equal: dict[int, int] | None = None) -> ImageTable:
    """Returns images at every second position; `twins` and `equal` copy image_hash or identity from another rank."""
    rng = random.Random(1)
    image_hashes = [rng.getrandbits(64) for _ in range(count)]
    identities = list(range(1, count + 1))
    for rank, other in (twins or {}).items():
        image_hashes[rank] = image_hashes[other] ^ 0b101
    for rank, other in (equal or {}).items():
        identities[rank] = identities[other]
    return ImageTable(
        positions=np.arange(count) * 2,
        classes=[["cat"] if rank % 3 else ["dog", "cat"] for rank in range(count)],
        identities=np.array(identities, np.uint64),
        image_hashes=np.array(image_hashes, np.uint64),
        filename=lambda position: f"{position}.jpg",
    )


def test_split_division_by_fractions_keeps_near_duplicates_together() -> None:
    twins = {rank: rank - 1 for rank in range(1, 40, 2)}
    log = ProblemLog()
    parts = split_dataset(image_table(40, twins), LISTING, HALVES, log)
    assert {name: len(part) for name, part in parts.items()} == {"train": 20, "val": 20}
    for rank, other in twins.items():
        assert sum({2 * rank, 2 * other} <= set(part) for part in parts.values()) == 1
    assert log.problems == []


def test_split_division_where_all_look_alike_they_are_divided_all_the_same() -> None:
    log = ProblemLog()
    parts = split_dataset(image_table(10, dict.fromkeys(range(1, 10), 0)), LISTING, HALVES, log)
    assert {name: len(part) for name, part in parts.items()} == {"train": 5, "val": 5}
    assert log.problems == [Problem("likeness_divided", "0.jpg", "10 of 10 images look like this one")]


def test_split_division_near_duplicates_in_two_lists_are_reported_and_kept() -> None:
    listing = replace(LISTING, sets={"train": (0, 2, 4), "val": (6, 8, 10)})
    log = ProblemLog()
    parts = split_dataset(image_table(6, {3: 0}, {4: 1}), listing, HALVES, log)
    assert {name: part.tolist() for name, part in parts.items()} == {"train": [0, 2, 4], "val": [6, 8, 10]}
    assert log.problems == [
        Problem("split_leak", "6.jpg", "looks like 0.jpg"),
        Problem("split_leak", "8.jpg", "equal to 2.jpg"),
    ]


def test_split_division_reports_a_split_of_very_few_images() -> None:
    listing = replace(LISTING, sets={"trainval": tuple(range(0, 160, 2)), "test": tuple(range(160, 200, 2))})
    log = ProblemLog()
    parts = split_dataset(image_table(100), listing, ConvertOptions(test_split=0.2), log)
    assert {name: len(part) for name, part in parts.items()} == {"train": 80, "val": 1, "test": 19}
    assert log.problems == [Problem("split_thin", "val", "1 of 100 images (train_valid_split=0.8, test_split=0.2)")]


@pytest.mark.parametrize("is_unlabelled", [True, False])
def test_split_division_images_without_labels_are_for_a_test(is_unlabelled: bool) -> None:
    parts = split_dataset(image_table(10), replace(LISTING, is_unlabelled=is_unlabelled), HALVES, ProblemLog())
    assert parts.keys() == ({"test"} if is_unlabelled else {"train", "val"})


@pytest.mark.parametrize("num_motifs", [73, 20_000])
def test_split_division_image_to_divide_takes_little_memory(num_motifs: int) -> None:
    count = 20_000
    identities = np.arange(count, dtype=np.uint64) % num_motifs
    many = ImageTable(
        positions=np.arange(count),
        classes=[("cat",), ("cat", "dog"), (), ()] * (count // 4),
        identities=identities,
        image_hashes=np.random.default_rng(0).integers(0, 1 << 63, num_motifs, dtype=np.uint64)[identities],
        filename=str,
    )
    tracemalloc.start()
    parts = split_dataset(many, LISTING, ConvertOptions(), ProblemLog())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(map(len, parts.values())) == count
    assert abs(len(parts["train"]) - 16_000) < 300
    assert peak < 240 * count


def test_split_division_images_of_another_set_are_kept_for_evaluation() -> None:
    listing = replace(LISTING, sets={"train": (0, 2), "val": (4,), "test": (6, 8)})
    log = ProblemLog()
    parts = split_dataset(image_table(6), listing, HALVES, log)
    assert {name: part.tolist() for name, part in parts.items()} == {"train": [0, 2], "val": [4]}
    assert log.problems == [
        Problem("set_reserved", "6.jpg", "in the set test"),
        Problem("set_reserved", "8.jpg", "in the set test"),
        Problem("set_not_listed", "10.jpg", ""),
    ]
    parts = split_dataset(image_table(6), listing, replace(HALVES, val_set="test"), ProblemLog())
    assert {name: part.tolist() for name, part in parts.items()} == {"train": [0, 2], "val": [6, 8]}


@pytest.mark.parametrize(
    ("sets", "code"),
    [
        ({"train": (0, 2), "test": (4,)}, "set_missing"),  # Another set takes its place.
        ({"train": (0, 2), "val": (4,), "test": (6,)}, "set_lists_unknown"),
        ({}, "set_missing"),
    ],
)
def test_split_division_set_that_is_named_in_vain_is_reported(sets, code: str) -> None:
    problem = Problem("set_lists_unknown", "data.yaml", "../val")
    log = ProblemLog()
    split_dataset(image_table(6), replace(LISTING, sets=sets, set_problems={"val": (problem,)}), HALVES, log)
    assert (log.problems[0].code, log.problems[0].file) == (code, "data.yaml")


def on_one_scene(count: int, num_objects: list[int]) -> ImageTable:
    """Returns similar images; every second one has the same objects as the previous one."""

    def objects(position: int) -> Objects:
        number = position // 4  # Of the pair: positions are twice the rank.
        return Objects(("cat",), np.array([(number / count, 0.0, (number + 0.9) / count, 0.5)]))

    same = image_table(count, dict.fromkeys(range(1, count), 0))
    return replace(same, objects=objects, num_objects=np.array(num_objects))


def test_split_division_images_of_one_scene_stay_together_only_where_they_show_the_same() -> None:
    log = ProblemLog()
    parts = split_dataset(on_one_scene(40, [1] * 40), LISTING, HALVES, log)
    assert {name: len(part) for name, part in parts.items()} == {"train": 20, "val": 20}
    for pair in range(20):
        assert sum({4 * pair, 4 * pair + 2} <= set(part.tolist()) for part in parts.values()) == 1
    assert log.problems == []


def test_split_division_near_duplicates_are_divided_where_the_option_says_so() -> None:
    twins = {rank: rank - 1 for rank in range(1, 40, 2)}
    log = ProblemLog()
    options = replace(HALVES, group_near_duplicates=False)
    parts = split_dataset(image_table(40, twins, {39: 0}), LISTING, options, log)
    assert {name: len(part) for name, part in parts.items()} == {"train": 20, "val": 20}
    assert sum({0, 78} <= set(part.tolist()) for part in parts.values()) == 1  # Equal to the byte.
    assert {problem.code for problem in log.problems} == {"split_leak"}


def test_split_division_split_that_near_duplicates_skew_is_reported() -> None:
    log = ProblemLog()
    one_scene = image_table(60, dict.fromkeys(range(1, 40), 0))
    counts = np.array([1] * 40 + [9] * 20)
    split_dataset(replace(one_scene, num_objects=counts), LISTING, HALVES, log)
    assert {problem.code for problem in log.problems} == {"split_skewed"}
    assert "40 images look alike and stay together" in log.problems[0].message
