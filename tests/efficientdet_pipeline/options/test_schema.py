"""An option is said once: what --help and the reader need is read off the dataclass."""

import dataclasses

from efficientdet_pipeline.options.schema import declarations, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParentOptions:
    """The parent."""

    name: str = option("x", choices=("x", "y"), aliases=("title",), shapes=True)
    """A text
    over two lines."""
    silent: bool = option(False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChildOptions(ParentOptions):
    """The child.

    More words that are no group's title.
    """

    count: int | None = option(None)
    """How many."""


def test_options_come_with_those_of_parents_first() -> None:
    assert list(declarations(ChildOptions)) == ["name", "silent", "count"]


def test_a_declaration_holds_what_the_field_says() -> None:
    name = declarations(ChildOptions)["name"]
    assert (name.kind, name.optional, name.default) == (str, False, "x")
    assert (name.choices, name.aliases, name.shapes) == (("x", "y"), ("title",), True)


def test_the_string_beneath_a_field_is_its_help_in_one_line() -> None:
    helps = {name: declared.help for name, declared in declarations(ChildOptions).items()}
    assert helps == {"name": "A text over two lines.", "silent": "", "count": "How many."}


def test_an_optional_field_knows_its_type_and_that_it_may_be_none() -> None:
    count = declarations(ChildOptions)["count"]
    assert (count.kind, count.optional, count.default) == (int, True, None)


def test_options_are_grouped_by_the_class_that_declares_them() -> None:
    groups = {name: declared.group for name, declared in declarations(ChildOptions).items()}
    assert groups == {"name": "The parent", "silent": "The parent", "count": "The child"}
