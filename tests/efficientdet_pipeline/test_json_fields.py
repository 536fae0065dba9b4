import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.json_fields import integer_field, number_field, object_field, text_field

FIELDS = {"step": 3, "ap": 0.25, "name": "run", "best": {"AP": 1}, "none": None, "flag": True}


def test_number_field_reads_numbers_alone() -> None:
    assert number_field(FIELDS, "ap") == 0.25
    assert number_field(FIELDS, "step") == 3
    assert number_field(FIELDS, "absent", -1.0) == number_field(FIELDS, "none", -1.0) == -1.0
    for name in ("name", "flag", "absent", "none"):
        with pytest.raises(DataError, match=f"'{name}' must be a number"):
            number_field(FIELDS, name)


def test_integer_field_refuses_fractions() -> None:
    assert integer_field(FIELDS, "step") == 3
    assert integer_field(FIELDS, "absent", 7) == 7
    with pytest.raises(DataError, match=r"must be an integer. Received 0.25"):
        integer_field(FIELDS, "ap")


def test_text_field_reads_text_alone() -> None:
    assert text_field(FIELDS, "name") == "run"
    assert text_field(FIELDS, "absent", "other") == text_field(FIELDS, "none", "other") == "other"
    with pytest.raises(DataError, match="must be a text"):
        text_field(FIELDS, "step")


def test_object_field_reads_objects_alone() -> None:
    assert object_field(FIELDS, "best") == {"AP": 1}
    assert object_field(FIELDS, "absent") == object_field(FIELDS, "none") == {}
    with pytest.raises(DataError, match="must be an object"):
        object_field(FIELDS, "name")
