"""Tiny, giant, duplicated and crowded boxes, and boxes without a matching anchor."""

import shlex
from collections.abc import Callable

import numpy as np
import pytest

from efficientdet_pipeline.doctor import anchor_coverage, boxes
from efficientdet_pipeline.doctor.issue import Severity


def by_code(issues: list) -> dict:
    return {each.code: each for each in issues if each is not None}


def test_boxes_good_boxes_have_no_issues(image: Callable, stats: Callable, plan: Callable) -> None:
    good = stats([image("a", [("cat", 10, 10, 60, 60), ("dog", 100, 100, 160, 170)])])
    assert by_code(boxes.check(good, plan())) == {}
    assert anchor_coverage.check(good, plan()) == []


def test_boxes_no_boxes_at_all(image: Callable, stats: Callable, plan: Callable) -> None:
    assert by_code(boxes.check(stats([image("a")]), plan())) == {}
    assert anchor_coverage.check(stats([]), plan()) == []


def test_boxes_tiny_is_what_is_tiny_on_the_canvas(image: Callable, stats: Callable, plan: Callable) -> None:
    objects = [("cat", 0, 0, 20, 20), ("cat", 100, 100, 500, 500)]
    found = by_code(boxes.check(stats([image("large", objects, size=(1024, 1024))]), plan()))["box_tiny"]
    assert (found.count, found.of, found.values["median_side"]) == (1, 2, 5.0)
    assert found.files == ("large.jpg (cat 0 0 20 20)",)
    assert found.remedy == "--image_size=512 makes nine in ten of them larger than that"
    assert "box_tiny" not in by_code(boxes.check(stats([image("small", objects, size=(512, 512))]), plan()))


def test_boxes_box_may_fill_its_image_and_is_logged(image: Callable, stats: Callable, plan: Callable) -> None:
    found = by_code(boxes.check(stats([image("a", [("cat", 0, 0, 255, 256)])]), plan()))
    assert found["box_giant"].severity == Severity.NOTE


def test_boxes_drawn_twice(image: Callable, stats: Callable, plan: Callable) -> None:
    first = image("a", [("cat", 10, 10, 60, 60), ("dog", 11, 10, 60, 60), ("cat", 10, 10, 60, 61)])
    other = image("b", [("cat", 10, 10, 60, 60), ("cat", 10, 40, 60, 90)])
    found = by_code(boxes.check(stats([first, other]), plan()))
    assert (found["box_twice"].count, found["box_twice"].files) == (1, ("a.jpg (cat 10 10 61 60)",))
    assert found["box_two_classes"].count == 2
    assert boxes.duplicate_boxes(stats([first, other])) == ([2], [1, 2])


def test_boxes_every_double_is_found_among_many(image: Callable, stats: Callable) -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 200, (150, 2))
    single = np.concatenate([corners, corners + random.uniform(5, 80, (150, 2))], axis=1)
    objects = [("cat", *box) for box in [*single, *single[::3]]]
    table = boxes.overlaps(single[:, None], single[None]) - np.eye(150)
    doubles = set(range(150, 200)) | set(np.flatnonzero((np.triu(table.T).T >= 0.95).any(axis=1)).tolist())
    assert set(boxes.duplicate_boxes(stats([image("a", objects)]))[0]) == doubles


def test_boxes_crowded_images(image: Callable, stats: Callable, plan: Callable) -> None:
    crowd = image("crowd", [("cat", 10, 2 * x, 40, 2 * x + 30) for x in range(101)])
    found = by_code(boxes.check(stats([crowd, image("b")]), plan(max_instances=50)))
    assert (found["crowded"].count, found["crowded"].values) == (1, {"most": 101, "limit": 50})
    assert found["crowded_detections"].remedy.startswith("--hparams=nms_configs.max_output_size=101")
    assert found["crowded_detections"].files == ("crowd.jpg (101 boxes)",)
    assert "crowded" not in by_code(boxes.check(stats([crowd]), plan(max_instances=None)))


def test_boxes_that_no_anchor_reaches(image: Callable, stats: Callable, plan: Callable) -> None:
    small = [("platelet", 10 * n, 10 * n, 10 * n + 14, 10 * n + 14) for n in range(12)]
    large = [("cell", 10 * n, 5 * n, 10 * n + 40, 5 * n + 40) for n in range(12)]
    (found,) = anchor_coverage.check(stats([image("a", small + large)]), plan())
    assert (found.count, found.of) == (12, 24)
    assert found.values["recall_per_class"] == {"cell": 1.0, "platelet": 0.0}
    assert "platelet 0%" in found.detail
    remedies = {each["flags"]: each["recall"] for each in found.values["remedies"]}
    assert max(remedies.values()) > 0.9
    assert any(word.startswith("--hparams=anchor_scale=") for flags in remedies for word in shlex.split(flags))
    # The flag is quoted, because a shell reads brackets as a pattern.
    assert all("'" in flags for flags in remedies if "[" in flags)
    assert "--image_size=512" in remedies
    assert all(flags in found.remedy for flags in remedies)


@pytest.mark.parametrize(("num_tiny", "severity"), [(1, Severity.NOTE), (2, Severity.WARNING)])
def test_boxes_tiny_boxes_that_are_few_are_a_note(
    num_tiny: int, severity: Severity, image: Callable, stats: Callable, plan: Callable
) -> None:
    objects = [("cat", 0, 0, 5, 5)] * num_tiny + [("cat", 100, 100, 160, 160)] * (100 - num_tiny)
    found = by_code(boxes.check(stats([image("a", objects)]), plan()))["box_tiny"]
    assert (found.count, found.severity) == (num_tiny, severity)


@pytest.mark.parametrize(
    ("side", "size", "advice"),
    [
        (5, 256, "--image_size=512 makes"),
        (2, 256, "Cut the images into tiles: they would need a canvas of 1024 px, too large for this network"),
        (5, 1024, "Cut the images into tiles: they would need a canvas of 1664 px, too large for this network"),
    ],
)
def test_boxes_tiny_boxes_get_no_canvas_that_no_network_takes(
    side: int, size: int, advice: str, image: Callable, stats: Callable, plan: Callable, grid: Callable
) -> None:
    seen = image("a", [("cat", 0, 0, side, side)], size=(size, size))
    found = by_code(boxes.check(stats([seen]), plan(grid=grid(size))))["box_tiny"]
    assert found.remedy.startswith(advice)


@pytest.mark.parametrize(
    ("size", "end", "count", "expected"),
    [((480, 640), 99, 20, 1), ((100, 120), 99, 20, 0), ((480, 640), 130, 20, 0), ((480, 640), 99, 19, 0)],
)
def test_boxes_percentages_read_as_pixels_are_named(
    image: Callable, stats: Callable, plan: Callable, size: tuple[int, int], end: int, count: int, expected: int
) -> None:
    objects = [("cat", number, 2 * number, number + 40, 2 * number + 40) for number in range(count - 1)]
    found = by_code(boxes.check(stats([image("a", [*objects, ("dog", 5, 5, end, end)], size=size)]), plan()))
    assert ("boxes_percent" in found) == bool(expected)
    if expected:
        assert found["boxes_percent"].detail == "No box ends beyond pixel 99, where the median image is 640x480 px."


def test_boxes_are_measured_as_the_training_resizes_them(image: Callable, stats: Callable, plan: Callable) -> None:
    # 10 x 20 of 256 x 1024 px: 2.5 x 5 px with its proportions, 10 x 5 px stretched to 256 x 256.
    wide = stats([image("wide", [("cat", 0, 0, 10, 20)], size=(256, 1024))])
    assert wide.boxes.on_canvas(plan()).tolist() == [[0, 0, 2.5, 5]]
    assert wide.boxes.on_canvas(plan(resize="stretch")).tolist() == [[0, 0, 10, 5]]
    tiny = by_code(boxes.check(wide, plan(resize="stretch")))["box_tiny"]
    assert f"median side is {50**0.5:.1f} px" in tiny.detail
