"""Copies, leaks and sizes of photos."""

from collections.abc import Callable

from efficientdet_pipeline.doctor import run_checks
from efficientdet_pipeline.doctor.issue import Severity

A, NEAR_A, OTHER = 0x0F0F_0F0F_F0F0_F0F0, 0x0F0F_0F0F_F0F0_F0F3, 0x3333_5555_CCCC_AAAA
CAT, DOG = ("cat", 10, 10, 60, 60), ("dog", 10, 10, 60, 60)


def by_code(findings: list) -> dict:
    return {each.code: each for each in findings if each is not None}


def test_copies_within_training(photo: Callable, facts: Callable, plan: Callable) -> None:
    train = [
        photo("a", [CAT], sha256="1", image_hash=A),
        photo("b", [CAT], sha256="1", image_hash=A),
        photo("c", [DOG], sha256="1", image_hash=A),
        photo("d", [CAT], sha256="2", image_hash=NEAR_A),
        photo("e", [CAT], sha256="3", image_hash=OTHER),
    ]
    found = by_code(run_checks.check_images(facts(train), plan()))
    assert found["photo_twice"].files == ("b.jpg (= a.jpg)", "c.jpg (= a.jpg)")
    assert found["twins_disagree"].files == ("c.jpg (= a.jpg)",)
    assert found["photo_alike"].files == ("d.jpg (like a.jpg)",)
    assert by_code(run_checks.check_splits(facts(train), plan(validates=False))) == {}


def test_leaks_into_validation(photo: Callable, facts: Callable, plan: Callable) -> None:
    train = [photo("a", sha256="1", image_hash=A), photo("z", sha256="9", image_hash=OTHER)]
    val = [photo("b", sha256="1", image_hash=A), photo("c", sha256="2", image_hash=NEAR_A), photo("d", sha256="3")]
    found = by_code(run_checks.check_splits(facts(train, val), plan()))
    assert (found["leak"].count, found["leak"].of, found["leak"].files) == (1, 3, ("b.jpg (= a.jpg)",))
    assert found["leak_alike"].files == ("c.jpg (like a.jpg)",)
    assert found["leak"].severity == Severity.WARNING
    assert found["val_small"].count == 3
    assert by_code(run_checks.check_images(facts(train, val), plan())).keys() == {"photo_alike"}  # Within validation.


def test_a_validation_that_was_learnt_by_heart_is_an_error(photo: Callable, facts: Callable, plan: Callable) -> None:
    train = [photo(f"t{n}", sha256=f"{n}") for n in range(20)]
    val = [photo(f"v{n}", sha256=f"{n}") for n in range(20)]
    assert by_code(run_checks.check_splits(facts(train, val), plan()))["leak"].severity == Severity.ERROR


def test_no_photo_to_validate_on(photo: Callable, facts: Callable, plan: Callable) -> None:
    assert by_code(run_checks.check_splits(facts([photo("a")]), plan()))["val_small"].detail == "There is none."


def test_sizes_against_the_canvas(photo: Callable, facts: Callable, plan: Callable) -> None:
    sizes = {"small": (100, 100), "large": (1100, 1500), "long": (200, 700), "good": (300, 400)}
    found = by_code(run_checks.check_images(facts([photo(name, size=size) for name, size in sizes.items()]), plan()))
    assert found["photo_small"].files == ("small.jpg (100x100)",)
    assert found["photo_large"].files == ("large.jpg (1500x1100)",)
    assert found["photo_large"].mend.startswith("--prepare_size=512 ")
    assert found["photo_long"].files == ("long.jpg (700x200)",)
    assert run_checks.check_images(facts([]), plan()) is not None
