"""Values of options from Python keyword arguments, checked against their declarations."""

import numbers
import os
from collections.abc import Mapping, Sequence

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Declaration

OptionValue = str | os.PathLike[str] | bool | float | Sequence[str] | Mapping[str, object] | None
"""Types of keyword values: the option's own type; a path object for a path, an integer for a text of digits
(image_size=512), a list of names for comma-separated names, a dict for hparams."""
_EXPECTED = {int: "an int", float: "a number", bool: "True or False", str: "a str"}


def source_of_keyword(name: str) -> str:
    """Returns the source of a keyword's value, for messages."""
    return f"the argument {name}"


def keyword_value(declared: Declaration, value: OptionValue) -> str | bool | int | float | None:
    """Returns a keyword's value, converted to the type of its option.

    Raises:
      OptionsError: it has another type.
    """
    words = dict(declared.words)
    if isinstance(value, str) and value in words:
        number: int = words[value]
        return number
    found = _of_kind(declared, value)
    if (found is None and not (value is None and declared.optional)) or (words and found in words.values()):
        raise OptionsError(_wrong_type(declared, value), option=declared.name)
    return found


def _of_kind(declared: Declaration, value: OptionValue) -> str | bool | int | float | None:
    """Returns the value as the option's type; None if it has another type."""
    is_bool = isinstance(value, bool) or type(value).__name__ == "bool"  # NumPy's bool is not registered as a number.
    if declared.kind is bool:
        return bool(value) if is_bool else None
    if is_bool:
        return None
    if declared.kind is int:
        return int(value) if isinstance(value, numbers.Integral) else None
    if declared.kind is float:
        return float(value) if isinstance(value, numbers.Real) else None
    return _text(declared, value)


def _text(declared: Declaration, value: OptionValue) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value) if declared.path else None
    if declared.name == "hparams" and isinstance(value, Mapping):
        return ",".join(_pairs(value))
    if isinstance(value, list | tuple) and declared.name in {"classes", "label_map"}:
        return ",".join(value) if all(isinstance(each, str) and "," not in each for each in value) else None
    is_number = isinstance(value, numbers.Integral) and declared.name in {"image_size", "save_freq"}
    return str(value) if is_number else None


def _pairs(values: Mapping[str, object], prefix: str = "") -> list[str]:
    """Returns the entries of a dict of hyperparameters as `a=1` and `b.c=2`."""
    found: list[str] = []
    for name, value in values.items():
        found += _pairs(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [f"{prefix}{name}={_item(value)}"]
    return found


def _item(value: object) -> str:
    return f"[{','.join(map(_item, value))}]" if isinstance(value, list | tuple) else str(value)


def _wrong_type(declared: Declaration, value: OptionValue) -> str:
    expected = _EXPECTED[declared.kind] + "".join(f" or {word!r}" for word, _ in declared.words)
    expected += " or None" if declared.optional else ""
    example = f"try {declared.name}={declared.default!r}" if declared.default not in {None, ""} else "leave it out"
    return (
        f"{declared.name} must be {expected}. Received {type(value).__name__} {str(value)[:100]!r} from "
        f"{source_of_keyword(declared.name)}; {example}."
    )
