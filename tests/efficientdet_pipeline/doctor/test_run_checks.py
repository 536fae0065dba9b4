"""Copies, leaks and sizes of images."""

from collections.abc import Callable

from efficientdet_pipeline.doctor import run_checks
from efficientdet_pipeline.doctor.issue import Severity

A, NEAR_A, OTHER = 0x0F0F_0F0F_F0F0_F0F0, 0x0F0F_0F0F_F0F0_F0F3, 0x3333_5555_CCCC_AAAA
CAT, DOG = ("cat", 10, 10, 60, 60), ("dog", 10, 10, 60, 60)


def by_code(issues: list) -> dict:
    return {each.code: each for each in issues if each is not None}


def test_run_checks_copies_within_training(image: Callable, stats: Callable, plan: Callable) -> None:
    train = [
        image("a", [CAT], sha256="1", image_hash=A),
        image("b", [CAT], sha256="1", image_hash=A),
        image("c", [DOG], sha256="1", image_hash=A),
        image("d", [CAT], sha256="2", image_hash=NEAR_A),
        image("e", [CAT], sha256="3", image_hash=OTHER),
    ]
    found = by_code(run_checks.check_images(stats(train), plan()))
    assert found["photo_twice"].files == ("b.jpg (= a.jpg)", "c.jpg (= a.jpg)")
    assert found["twins_disagree"].files == ("c.jpg (= a.jpg)",)
    assert found["photo_alike"].files == ("d.jpg (like a.jpg)",)
    assert by_code(run_checks.check_splits(stats(train), plan(validates=False))) == {}


def test_run_checks_leaks_into_validation(image: Callable, stats: Callable, plan: Callable) -> None:
    train = [image("a", sha256="1", image_hash=A), image("z", sha256="9", image_hash=OTHER)]
    val = [image("b", sha256="1", image_hash=A), image("c", sha256="2", image_hash=NEAR_A), image("d", sha256="3")]
    found = by_code(run_checks.check_splits(stats(train, val), plan()))
    assert (found["leak"].count, found["leak"].of, found["leak"].files) == (1, 3, ("b.jpg (= a.jpg)",))
    assert found["leak_alike"].files == ("c.jpg (like a.jpg)",)
    assert found["leak"].severity == Severity.WARNING
    assert found["val_small"].count == 3
    assert by_code(run_checks.check_images(stats(train, val), plan())).keys() == {"photo_alike"}  # Within validation.


def test_run_checks_validation_that_was_seen_in_training_is_an_error(
    image: Callable, stats: Callable, plan: Callable
) -> None:
    train = [image(f"t{n}", sha256=f"{n}") for n in range(20)]
    val = [image(f"v{n}", sha256=f"{n}") for n in range(20)]
    assert by_code(run_checks.check_splits(stats(train, val), plan()))["leak"].severity == Severity.ERROR


def test_run_checks_no_image_to_validate_on(image: Callable, stats: Callable, plan: Callable) -> None:
    assert by_code(run_checks.check_splits(stats([image("a")]), plan()))["val_small"].detail == "There is none."


def test_run_checks_sizes_against_the_canvas(image: Callable, stats: Callable, plan: Callable) -> None:
    sizes = {"small": (100, 100), "large": (1100, 1500), "long": (200, 700), "good": (300, 400)}
    found = by_code(run_checks.check_images(stats([image(name, size=size) for name, size in sizes.items()]), plan()))
    assert found["photo_small"].files == ("small.jpg (100x100)",)
    assert found["photo_large"].files == ("large.jpg (1500x1100)",)
    assert found["photo_large"].remedy.startswith("--prepare_size=512 ")
    assert found["photo_long"].files == ("long.jpg (700x200)",)
    assert run_checks.check_images(stats([]), plan()) is not None
