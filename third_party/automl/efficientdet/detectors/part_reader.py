"""Reader of dataclasses from plain dicts: checks names against a table, keys and types against the fields.

Used for each part of a detector's config, so that the error for a misspelled key
names the nearest valid one at every level. The dicts are not modified.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from efficientdet.automl.hparams import unknown_name

Part = TypeVar("Part")


def read_part(what: str, given: Mapping[str, Any] | str, table: Mapping[str, type[Part]]) -> Part:
    """Returns the dataclass of a dict with a `name`.

    Args:
      what: key of the dict in the config, for messages; for example head.assigner.
      given: the dict, or only the name.
      table: {lower-case name: dataclass}.

    Raises:
      ValueError: the name is missing, a name or key is unknown, or a value has the wrong type.
    """
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise ValueError(f"{what} must be a mapping with a name, one of {', '.join(table)}. Received {given!r}.")
    name = given["name"].lower()
    if name not in table:
        raise ValueError(unknown_name(f"name of {what}", given["name"], table))
    return read_fields(what, {key: value for key, value in given.items() if key != "name"}, table[name])


def read_fields(what: str, given: Mapping[str, Any], part: type[Part]) -> Part:
    """Returns the dataclass `part` with the values of a dict; see `read_part`."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be a mapping. Received {given!r}.")
    hints = typing.get_type_hints(part)
    fields = [field.name for field in dataclasses.fields(part) if field.init]  # type: ignore[arg-type]
    values = {}
    for key, value in given.items():
        if key not in fields:
            raise ValueError(unknown_name(f"key of {what}", key, fields))
        try:
            values[key] = fitted(value, hints[key])
        except TypeError:
            raise ValueError(f"{what}.{key} must be {described(hints[key])}. Received {value!r}.") from None
    missing = [
        field.name
        for field in dataclasses.fields(part)  # type: ignore[arg-type]
        if field.init
        and field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{what} must have {' and '.join(missing)}. Received {dict(given)!r}.")
    try:
        return part(**values)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def fitted(value: Any, hint: Any) -> Any:
    """Returns a value converted to its type, lists as tuples; raises TypeError if it has another type."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        for one in typing.get_args(hint):
            try:
                return fitted(value, one)
            except TypeError:
                continue
        raise TypeError
    if hint is Any:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, (list, tuple)):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(fitted(item, arguments[0]) for item in value)
        if len(value) != len(arguments):
            raise TypeError
        return tuple(fitted(item, argument) for item, argument in zip(value, arguments, strict=True))
    if (origin or hint) in (dict, Mapping) or origin is typing.get_origin(Mapping[str, Any]):
        if isinstance(value, Mapping):
            return dict(value)
        raise TypeError
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(value)
    if hint is int and is_number and value == int(value):
        return int(value)
    if hint in (bool, str, types.NoneType) and isinstance(value, hint):
        return value
    raise TypeError


def described(hint: Any) -> str:
    """Returns the description of a type, for messages."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(described(one) for one in typing.get_args(hint))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", types.NoneType: "null"}
    if typing.get_origin(hint) is tuple:
        arguments = [argument for argument in typing.get_args(hint) if argument is not Ellipsis]
        count = "" if Ellipsis in typing.get_args(hint) else f"{len(arguments)} "
        return f"a list of {count}items, each {described(arguments[0])}"
    return words.get(hint, "a mapping")
