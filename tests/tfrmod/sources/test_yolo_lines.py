import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources.yolo_lines import is_outline, parse, surveyed

POSE = "0 0.5 0.5 0.4 0.4 "
TRACK = ["0 0.25 0.36 0.41 0.66 0.87 1", "1 0.75 0.5 0.43 0.38 0.77 2", "0 0.3 0.4 0.2 0.2 0.9 3"]
OUTLINES = [
    "0 0.1 0.1 0.2 0.1 0.2 0.3",
    "0 0.5 0.5 0.6 0.5 0.6 0.7 0.55 0.8",
    "0 0.7 0.2 0.9 0.2 0.9 0.3 0.8 0.4 0.7 0.35",
]
ORIENTED = [
    "0 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6",
    "0 0.5 0.3 0.6 0.4 0.5 0.5 0.4 0.4",
    "1 0.9 0.8 1.02 0.8 1.02 0.9 0.9 0.9",
]


def read(line: str, others: list[str], keypoints: tuple[int, int] | None = None) -> bool:
    _, numbers = parse(line)
    return is_outline(numbers, keypoints, has_outlines=surveyed([line, *others]).has_outlines)


@pytest.mark.parametrize(
    "rest",
    [
        "0.4 0.4 0.6 0.6",  # two points within the box
        "0.4 0.4 0.6 0.6 0 0",  # one of three is not visible
        "0.1 0.1 1 0.95 0.9 1",  # visibilities 0 and 1
        "0.1 0.1 0 0.95 0.9 1",
        "0.4 0.4 2.0 0.6 0.6 2.0",
        "0.4 0.4 1 0.6 0.6 1 0.5 0.5 0 0 0 0",
        "0.4 0.4",  # one point
        "0.87 1",  # a confidence and a track id
        "1 0.87",
        "17 0.87",
        "0.87 0.5",
        "0.9",
        "0.4 0.4 1",
    ],
)
def test_yolo_lines_what_may_be_a_box_with_more_after_it_is_refused(rest: str) -> None:
    with pytest.raises(DatasetError, match=r"state kpt_shape: .* in data\.yaml; .* remove these columns"):
        read(POSE + rest, [POSE + rest] * 3)


@pytest.mark.parametrize("line", TRACK)
def test_yolo_lines_of_a_tracker_are_refused(line: str) -> None:
    with pytest.raises(DatasetError, match="remove these columns"):
        read(line, TRACK)


@pytest.mark.parametrize(
    ("line", "others"), [*((line, OUTLINES) for line in OUTLINES), *((line, ORIENTED) for line in ORIENTED)]
)
def test_yolo_lines_outlines_and_oriented_boxes_are_outlines(line: str, others: list[str]) -> None:
    assert read(line, others)


def test_yolo_lines_four_corners_in_many_places_are_outlines() -> None:
    plates = ["0 0.1 0.1 0.3 0.12 0.28 0.2 0.11 0.19", "0 0.8 0.5 0.95 0.52 0.94 0.61 0.8 0.58"]
    assert all(read(line, plates) for line in plates)


def test_yolo_lines_outline_that_ends_where_it_begins_is_one() -> None:
    triangles = ["0 0.3 0.3 0.4 0.4 0.35 0.35 0.3 0.3", "0 0.5 0.5 0.6 0.6 0.5 0.6 0.5 0.5"]
    assert all(read(line, triangles) for line in triangles)


def test_yolo_lines_of_poses_the_box_is_taken() -> None:
    assert not read(POSE + "0.4 0.4 2 0.6 0.6 1", [], (2, 3))
    assert not read(POSE + "0.4 0.4 0.6 0.6", [], (2, 2))
    assert not read("0 0.5 0.5 0.4 0.4", [], (2, 3))


def test_yolo_lines_that_do_not_fit_kpt_shape_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"8 numbers follow the class, where kpt_shape \[2, 3\] makes 10"):
        read(POSE + "0.4 0.4 0.6 0.6", [], (2, 3))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["0 0.1 0.1 0.9 0.9", "0 0.5 0.6 0.8 0.9", "0 0.7 0.7 0.9 0.8"], True),
        (["0 0.5 0.5 0.9 0.9", "0 0.5 0.6 0.2 0.1", "0 0.7 0.7 0.1 0.1"], False),
        (["0 0.1 0.1 0.9 0.9"], False),
        (["no line"], False),
    ],
)
def test_yolo_lines_corners_in_the_place_of_centres_are_seen(lines: list[str], expected: bool) -> None:
    assert surveyed(lines).has_corners is expected
