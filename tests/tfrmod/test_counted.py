"""Counts in messages have their noun in the singular or plural."""

from tfrmod.counted import counted


def test_counted_has_the_singular_for_one_alone() -> None:
    assert [counted(number, "image") for number in (0, 1, 2, 1200)] == [
        "0 images",
        "1 image",
        "2 images",
        "1,200 images",
    ]
    assert [counted(2, noun) for noun in ("image", "class", "validation image")] == [
        "2 images",
        "2 classes",
        "2 validation images",
    ]
