"""Rare and missing classes, missing annotations, and wrong class ids."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from efficientdet_pipeline.doctor import classes
from efficientdet_pipeline.doctor.issue import Severity

BOX = (10, 10, 60, 60)


def by_code(issues: list) -> dict:
    return {each.code: each for each in issues if each is not None}


def many(image: Callable, count: int, *names: str | int) -> list:
    return [image(f"{'_'.join(map(str, names))}{number}", [(name, *BOX) for name in names]) for number in range(count)]


def test_classes_sound_classes_have_no_issues(image: Callable, stats: Callable, plan: Callable) -> None:
    sound = stats(many(image, 40, "cat", "dog"), many(image, 20, "cat", "dog"))
    assert by_code(classes.check(sound, plan())) == {}


def test_classes_rare_and_outnumbered_classes(image: Callable, stats: Callable, plan: Callable) -> None:
    train = [*many(image, 600, "cat"), *many(image, 50, "dog"), *many(image, 3, "elk")]
    found = by_code(classes.check(stats(train), plan()))
    assert found["class_rare"].values == {"classes": {"elk": 3}}
    assert found["class_imbalance"].values == {"classes": {"dog": 50}}
    assert "--class_balance=0.5" in found["class_imbalance"].remedy


def test_classes_that_only_one_side_shows(image: Callable, stats: Callable, plan: Callable) -> None:
    found = by_code(classes.check(stats(many(image, 40, "cat", "dog"), many(image, 20, "cat", "elk")), plan()))
    assert found["class_not_in_train"].values == {"classes": ["elk"]}
    assert found["class_not_in_val"].values == {"classes": ["dog"]}
    assert found["class_not_in_train"].severity == Severity.WARNING


def test_classes_class_that_was_forgotten_on_a_few_images(image: Callable, stats: Callable, plan: Callable) -> None:
    train = [*many(image, 58, "cell", "dog"), *many(image, 2, "dog"), image("empty")]
    found = by_code(classes.check(stats(train), plan()))["labels_missing"]
    assert found.files == ("dog0.jpg (no cell)", "dog1.jpg (no cell)")
    assert "cell is on 95% of all images" in found.detail


def test_classes_nothing_to_learn(image: Callable, stats: Callable, plan: Callable) -> None:
    found = by_code(classes.check(stats([image("a")], many(image, 2, "cat")), plan()))
    assert found["no_boxes"].severity == Severity.ERROR
    assert found["class_not_in_train"].count == 1


@pytest.mark.parametrize(
    ("num_single", "skips_crowds", "is_found"), [(0, True, True), (1, True, False), (0, False, False)]
)
def test_classes_only_crowds_are_nothing_to_learn(
    image: Callable, stats: Callable, plan: Callable, num_single: int, skips_crowds: bool, is_found: bool
) -> None:
    seen = image("a", [("cat", *BOX)] * 3)
    objects = [obj._replace(is_crowd=True) for obj in seen.image.objects]
    crowds = seen._replace(image=replace(seen.image, objects=tuple(objects)))
    found = by_code(classes.check(stats([crowds, *many(image, num_single, "cat")]), plan(skips_crowds=skips_crowds)))
    assert ("only_crowds" in found) == is_found
    assert not is_found or found["only_crowds"].severity == Severity.ERROR


def test_classes_many_images_of_nothing(image: Callable, stats: Callable, plan: Callable) -> None:
    found = by_code(classes.check(stats([*many(image, 40, "cat"), *(image(f"n{n}") for n in range(41))]), plan()))
    assert found["negatives_many"].count == 41


@pytest.mark.parametrize(
    ("ids", "num_classes", "code", "count"),
    [
        ((0, 1), None, "label_zero", 40),
        ((1, 2), 1, "label_beyond", 40),
        ((1, 2), 3, "num_classes_over", 1),
        ((1, 4), None, "label_gaps", 2),
    ],
)
def test_classes_ids_that_are_off(
    image: Callable, stats: Callable, plan: Callable, ids: tuple, num_classes: int | None, code: str, count: int
) -> None:
    given = stats(many(image, 40, *ids), class_ids={each: str(each) for each in ids})
    found = by_code(classes.check(given, plan(num_classes=num_classes)))
    assert found[code].count == count
    if code == "label_zero":
        assert found[code].detail == "The ids start at 0: each is one too low."


def test_classes_ids_that_are_right(image: Callable, stats: Callable, plan: Callable) -> None:
    given = stats(many(image, 40, 1, 2), class_ids={1: "1", 2: "2"})
    assert by_code(classes.check(given, plan(num_classes=2))) == {}


def test_classes_name_in_the_label_map_without_boxes(image: Callable, stats: Callable, plan: Callable) -> None:
    found = by_code(classes.check(stats(many(image, 40, "cat")), plan(label_map={1: "cat", 2: "dgo"})))
    assert found["label_unused"].values == {"classes": ["dgo"]}


def test_classes_sample_does_not_say_what_is_rare(image: Callable, stats: Callable, plan: Callable) -> None:
    part = stats(many(image, 3, 1, 9), many(image, 3, 1), class_ids={1: "1", 9: "9"}, is_sample=True)
    assert by_code(classes.check(part, plan())) == {}
