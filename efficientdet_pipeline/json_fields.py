"""Typed reading of the fields of JSON and YAML objects: metadata of a run, markers of checkpoints, saved options."""

from collections.abc import Mapping

from efficientdet_pipeline.errors import DataError

Fields = Mapping[str, object]
"""An object of a JSON or YAML file."""


def number_field(fields: Fields, name: str, default: float | None = None) -> float:
    """Returns a number; `default` if the field is missing or null.

    Raises:
      DataError: the field is not a number, or it is missing and has no default.
    """
    value = fields.get(name)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _error(name, "a number", value)
    return value


def integer_field(fields: Fields, name: str, default: int | None = None) -> int:
    """Returns an integer; `default` if the field is missing or null.

    Raises:
      DataError: the field is not an integer, or it is missing and has no default.
    """
    value = number_field(fields, name, default)
    if value != int(value):
        raise _error(name, "an integer", value)
    return int(value)


def text_field(fields: Fields, name: str, default: str = "") -> str:
    """Returns a text; `default` if the field is missing, null or empty.

    Raises:
      DataError: the field is not a text.
    """
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise _error(name, "a text", value)
    return value or default


def object_field(fields: Fields, name: str) -> dict[str, object]:
    """Returns an object; an empty one if the field is missing or null.

    Raises:
      DataError: the field is not an object.
    """
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _error(name, "an object", value)
    return value


def _error(name: str, expected: str, value: object) -> DataError:
    return DataError(f"The field {name!r} must be {expected}. Received {value!r}.")
