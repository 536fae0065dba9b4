"""Tests of the reader of dataclasses from dicts, and of its error messages."""

from dataclasses import dataclass

import pytest
from efficientdet.detectors.part_reader import read_fields, read_part


@dataclass(frozen=True, kw_only=True)
class Wheel:
    radius: float
    spokes: int = 8
    colors: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    extras: dict[str, int] | None = None

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise ValueError(f"radius must be above 0. Received {self.radius}.")


def test_read_part_fits_values_to_fields() -> None:
    given = {"name": "Wheel", "radius": 2, "colors": ["red"], "size": [3, 4], "extras": {"a": 1}}
    before = dict(given)
    wheel = read_part("car.wheel", given, {"wheel": Wheel})
    assert wheel == Wheel(radius=2.0, colors=("red",), size=(3, 4), extras={"a": 1})
    assert isinstance(wheel.radius, float)
    assert given == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "weel", "radius": 1}, r"Unknown name of car.wheel 'weel'. Did you mean wheel\?"),
        ({"radius": 1}, "car.wheel must be a mapping with a name, one of wheel"),
        (3, "car.wheel must be a mapping with a name"),
        ({"name": "wheel", "radius": 1, "spoke": 3}, r"Unknown key of car.wheel 'spoke'. Did you mean spokes\?"),
        ({"name": "wheel", "radius": "big"}, "car.wheel.radius must be a number. Received 'big'"),
        ({"name": "wheel", "radius": True}, "car.wheel.radius must be a number. Received True"),
        ({"name": "wheel", "radius": 1, "spokes": 2.5}, "car.wheel.spokes must be a whole number"),
        ({"name": "wheel", "radius": 1, "size": [1]}, "car.wheel.size must be a list of 2 items, each a whole number"),
        ({"name": "wheel"}, "car.wheel must have radius"),
        ({"name": "wheel", "radius": -1}, "car.wheel: radius must be above 0. Received -1.0"),
    ],
)
def test_read_part_refuses(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_part("car.wheel", given, {"wheel": Wheel})


def test_read_fields_refuses_what_is_no_mapping() -> None:
    with pytest.raises(ValueError, match="wheel must be a mapping"):
        read_fields("wheel", [1], Wheel)
