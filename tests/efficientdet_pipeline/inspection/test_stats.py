"""Statistics of shards with known content."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.inspection import stats

NO_NUMBER = float("nan")


@pytest.fixture
def contents(shard: Callable[..., Path], record: Callable[..., bytes], obj: Callable) -> stats.InspectionStats:
    """Returns two splits: three images with a cat and a dog, a cat, and nothing; one image with two dogs."""
    train = shard(
        "train.tfrecord",
        record([obj((0, 0, 30, 40)), obj((0, 0, 15, 60), 2, "dog")]),
        record([obj((10, 10, 20, 20))], size=(40, 40)),
        record(),
    )
    val = shard("val.tfrecord", record([obj((0, 0, 30, 40), 2, "dog")] * 2))
    return stats.count_splits({"train": [train], "val": [val]}, {})


def test_stats_splits_are_counted(contents: stats.InspectionStats) -> None:
    train, val = contents.splits
    assert (train.num_images, train.num_boxes, train.num_negatives) == (3, 3, 1)
    assert (val.num_images, val.num_boxes, val.num_negatives) == (1, 2, 0)
    assert train.boxes_per_image == [2, 1, 0]
    assert train.boxes_of == {1: 2, 2: 1}
    assert train.images_with == {1: 2, 2: 1}
    assert train.co_occurrences == {(1, 2): 1}
    assert val.co_occurrences == {}
    assert train.image_sizes == {(60, 80): 2, (40, 40): 1}
    assert contents.label_map == {1: "cat", 2: "dog"}


def test_stats_name_given_takes_precedence_over_that_of_the_records(
    shard: Callable[..., Path], record: Callable[..., bytes]
) -> None:
    contents = stats.count_splits({"train": [shard("a.tfrecord", record())]}, {3: "cow"})
    assert contents.label_map == {3: "cow"}


def test_stats_sides_are_parts_of_the_canvas(contents: stats.InspectionStats) -> None:
    # 60x80 on 120x160 is doubled: 30x40 → 60x80; 15x60 → 30x120. 40x40 is tripled: 10x10 → 30x30.
    expected = np.sqrt([60 * 80, 30 * 120, 30 * 30]) / math.sqrt(120 * 160)
    assert stats.side_shares(contents.splits[0], (120, 160)) == pytest.approx(expected, rel=1e-5)


def test_stats_aspect_ratios_are_width_by_height(contents: stats.InspectionStats) -> None:
    assert stats.aspect_ratios(contents.splits[0]) == pytest.approx([4 / 3, 4, 1], rel=1e-5)


def test_stats_empty_split_has_no_sides() -> None:
    split = stats.SplitStats("train")
    assert stats.side_shares(split, (64, 64)).shape == (0,)
    assert stats.aspect_ratios(split).shape == (0,)


def test_stats_each_file_read_is_logged(shard: Callable[..., Path], record: Callable[..., bytes]) -> None:
    on_progress: list[tuple[int, int | None]] = []
    files = {"train": [shard("a.tfrecord", record()), shard("b.tfrecord")], "val": [shard("c.tfrecord", record())]}
    stats.count_splits(files, {}, lambda done, total: on_progress.append((done, total)))
    assert on_progress == [(1, 3), (2, 3), (3, 3)]


def test_stats_odd_boxes_are_remarked_on(
    shard: Callable[..., Path], record: Callable[..., bytes], obj: Callable
) -> None:
    odd = [
        obj((NO_NUMBER, 0, 5, 5)),
        obj((20, 20, 20, 40)),
        obj((-30, 0, 30, 30)),
        obj((0, 0, 30, 30), 0),
        obj((-0.1, 0, 30, 80.1)),
    ]
    split = stats.count_splits({"train": [shard("a.tfrecord", record(odd))]}, {}).splits[0]
    assert split.unusual == {
        "with coordinates that are not numbers": 1,
        "without area": 1,
        "extending beyond the image": 1,
        "with a class id below 1": 1,
    }
    assert split.num_boxes == 5
    assert len(stats.aspect_ratios(split)) == 3


def test_stats_damage_and_empty_files_are_kept_apart(
    tmp_path: Path, shard: Callable[..., Path], record: Callable[..., bytes]
) -> None:
    empty = tmp_path / "empty.tfrecord"
    empty.touch()
    damaged = shard("damaged.tfrecord", b"nothing", record())
    contents = stats.count_splits({"train": [empty, damaged]}, {})
    assert contents.splits[0].empty_files == [empty]
    assert [fault.location.file for fault in contents.damaged] == [damaged]
    assert contents.splits[0].num_images == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"], {"train": 2}),
        (["d/train-00000-of-00001.tfrecord", "d/eval-00000-of-00001.tfrecord"], {"train": 1, "eval": 1}),
        (["coco_train-00003-of-00256"], {"coco_train": 1}),
        (["pascal.record"], {"pascal": 1}),
        (["-00000-of-00001.tfrecord"], {"-00000-of-00001": 1}),
        ([f"{letter}.record" for letter in "abcdefg"], {"shards": 7}),
    ],
)
def test_stats_splits_are_logged_by_the_names_of_the_files(files: list[str], expected: dict[str, int]) -> None:
    found = stats.split_names(Path(name) for name in files)
    assert {name: len(paths) for name, paths in found.items()} == expected


def test_stats_summary_is_json_and_says_it_all(contents: stats.InspectionStats) -> None:
    on_progress = json.loads(json.dumps(stats.summary(contents, (120, 160))))
    assert on_progress["classes"] == {"1": "cat", "2": "dog"}
    train = on_progress["splits"]["train"]
    assert (train["images"], train["boxes"], train["images_without_boxes"]) == (3, 3, 1)
    assert train["per_class"]["2"] == {"name": "dog", "boxes": 1, "images": 1}
    assert train["images_with_both"] == [{"classes": [1, 2], "images": 1}]
    assert train["boxes_per_image"]["max"] == 2
    assert train["damaged"] == []
