import pytest

from tfrmod.class_names import spelling_problems


@pytest.mark.parametrize(
    ("one", "other"),
    [("license-plate", "License Plate"), ("Platelets", "platelet"), ("bus", "buses"), ("aeroplane", "aeropland")],
)
def test_class_names_that_look_like_one_are_reported_with_the_frequent_one(one: str, other: str) -> None:
    (problem,) = spelling_problems({one: 90, other: 2})
    assert (problem.code, problem.file) == ("class_spelling", other)
    assert repr(one) in problem.message


@pytest.mark.parametrize(("one", "other"), [("RBC", "WBC"), ("cat", "car"), ("plate1", "plate2"), ("Alive", "Dead")])
def test_class_names_that_differ_are_let_be(one: str, other: str) -> None:
    assert spelling_problems({one: 90, other: 2}) == []
