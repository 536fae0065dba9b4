"""Declarations are read from dataclasses; groups compose to the options of a mode, whose flags are flat."""

import dataclasses
import math

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import (
    Options,
    Value,
    compose,
    declarations,
    flatten,
    groups,
    implied_options,
    option,
    options_without_effect,
    replace,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NameOptions(Options):
    """Names.

    More words that are not part of the title.
    """

    name: str = option("x", "A text.", choices=("x", "y"), aliases=("title",), shapes=True)
    silent: bool = option(False, "")

    def without_effect(self) -> dict[str, str]:
        return {"count": "it is silent"} if self.silent else {}

    @classmethod
    def implied(cls, given: "dict[str, Value]") -> dict[str, dict[str, Value]]:  # type: ignore[override]
        return {"name": {"silent": given.get("name") == "y"}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountOptions(Options):
    """A mode."""

    names: NameOptions
    count: int | None = option(None, "How many.")
    rate: float = option(0.5, "How much.")

    def without_effect(self) -> dict[str, str]:
        return {"rate": "count is given"} if self.count else {}


def test_declarations_have_those_of_groups_in_the_order_of_the_fields() -> None:
    assert list(declarations(CountOptions)) == ["name", "silent", "count", "rate"]
    assert groups(CountOptions) == {"names": NameOptions}


def test_declarations_hold_what_the_field_says() -> None:
    name = declarations(CountOptions)["name"]
    assert (name.kind, name.optional, name.default, name.help) == (str, False, "x", "A text.")
    assert (name.choices, name.aliases, name.shapes) == (("x", "y"), ("title",), True)


def test_declarations_of_an_optional_field_have_its_type() -> None:
    count = declarations(CountOptions)["count"]
    assert (count.kind, count.optional, count.default) == (int, True, None)


def test_declarations_are_titled_by_their_class() -> None:
    titles = {name: declared.group for name, declared in declarations(CountOptions).items()}
    assert titles == {"name": "Names", "silent": "Names", "count": "A mode", "rate": "A mode"}


def test_compose_builds_groups_from_flat_flags() -> None:
    options = compose(CountOptions, {"name": "y", "count": 1}, count=3)
    assert options == CountOptions(names=NameOptions(name="y"), count=3)


def test_compose_rejects_unknown_flags() -> None:
    with pytest.raises(TypeError, match="CountOptions has no options nam"):
        compose(CountOptions, nam="y")


def test_compose_rejects_numbers_that_are_not_finite() -> None:
    with pytest.raises(OptionsError, match="rate must be a finite number"):
        compose(CountOptions, rate=math.inf)


def test_flatten_and_replace_are_inverse_to_compose() -> None:
    options = compose(CountOptions, name="y", count=3)
    assert flatten(options) == {"name": "y", "silent": False, "count": 3, "rate": 0.5}
    assert replace(options, count=4, silent=True) == compose(CountOptions, name="y", count=4, silent=True)


def test_options_without_effect_are_those_of_the_mode_and_its_groups() -> None:
    assert options_without_effect(compose(CountOptions, silent=True, count=2)) == {
        "count": "it is silent",
        "rate": "count is given",
    }
    assert not options_without_effect(compose(CountOptions))


def test_implied_options_are_asked_of_groups() -> None:
    assert implied_options(CountOptions, {"name": "y"}) == {"name": {"silent": True}}
