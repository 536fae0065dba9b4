"""Options that are lists of numbers."""

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.values import positive_numbers


def test_positive_numbers_are_sorted_and_different() -> None:
    assert positive_numbers("sizes", "8, 2,8", example="1,2") == (2, 8)


@pytest.mark.parametrize("text", ["", "0", "1,,2", "1.5", "-1"])
def test_positive_numbers_refuse_others(text: str) -> None:
    with pytest.raises(OptionsError, match=r"sizes must be comma-separated integers above 0.*try 1,2"):
        positive_numbers("sizes", text, example="1,2")
