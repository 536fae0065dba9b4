"""Tests of the comparison of the objects of near-duplicates."""

import time

import numpy as np
import pytest

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.near_duplicates import Objects, is_same, near_groups, objects_of, split_by_objects, twin_groups

HASH = 0x0F1E2D3C4B5A6978


def objects(*things: tuple[str, float, float]) -> Objects:
    """Returns objects of a fifth of the image's sides; a thing is (class, y, x) of its corner."""
    boxes = np.array([(y, x, y + 0.2, x + 0.2) for _, y, x in things]).reshape(-1, 4)
    return Objects(tuple(name for name, _, _ in things), boxes)


CAT, DOG = ("cat", 0.1, 0.1), ("dog", 0.6, 0.6)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([CAT, DOG], [CAT, DOG], True),
        ([CAT, DOG], [DOG, CAT], True),
        ([CAT, DOG], [("cat", 0.12, 0.11), ("dog", 0.58, 0.6)], True),  # Drawn by another hand.
        ([CAT], [("dog", 0.1, 0.1)], False),
        ([CAT], [("cat", 0.1, 0.5)], False),
        ([CAT], [("cat", 0.1, 0.25)], False),
        ([CAT, DOG], [CAT], False),
        ([CAT], [], False),
        ([], [], True),
        ([CAT, CAT], [CAT, CAT], True),
        ([("cat", 0.1, x / 20) for x in range(0, 20, 4)], [("cat", 0.1, x / 20) for x in range(0, 16, 4)], True),
    ],
)
def test_near_duplicates_same_objects_same_objects_are_of_one_class_in_one_place(one, other, same: bool) -> None:
    assert is_same(objects(*one), objects(*other)) is same
    assert is_same(objects(*other), objects(*one)) is same


def test_objects_are_in_parts_of_the_image() -> None:
    image = AnnotatedImage(filename="a", height=100, width=200, objects=(AnnotatedObject("cat", (10, 20, 50, 100)),))
    np.testing.assert_allclose(objects_of(image).boxes, [(0.1, 0.1, 0.5, 0.5)])


def test_near_duplicates_same_objects_near_duplicates_of_a_fixed_camera_are_told_apart_by_their_objects() -> None:
    shown = [[CAT], [("cat", 0.6, 0.1)], [CAT], [DOG], [DOG, CAT], []]
    hashes = [HASH ^ (number % 3) for number in range(len(shown))]
    assert near_groups(hashes) == [[0, 1, 2, 3, 4, 5]]
    assert near_groups(hashes, objects=lambda index: objects(*shown[index])) == [[0, 2]]
    twins = twin_groups([1, 2, 3, 4, 4, 5], hashes, objects=lambda index: objects(*shown[index]))
    assert [group.tolist() for group in twins] == [[0, 2], [3, 4]]


def test_objects_are_asked_for_only_where_images_look_alike() -> None:
    asked: list[int] = []

    def look(index: int) -> Objects:
        asked.append(index)
        return objects(CAT)

    assert split_by_objects(np.array([-1, 0, 1, 1, -1]), look).tolist() == [-1, -1, 2, 2, -1]
    assert asked == [2, 3]


def test_near_duplicates_same_objects_many_images_of_one_scene_are_divided_in_little_time() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.8, (3000, 5, 2))
    shown = [objects(*(("cat", y, x) for y, x in image)) for image in corners]
    begin = time.process_time()
    labels = split_by_objects(np.zeros(6000, int), lambda index: shown[index // 2])
    assert time.process_time() - begin < 30
    assert (labels[::2] == labels[1::2]).all()
    assert len(set(labels.tolist())) > 2900
