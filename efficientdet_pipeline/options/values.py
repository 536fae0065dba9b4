"""Parsing of options that are lists."""

from efficientdet_pipeline.errors import OptionsError


def positive_numbers(name: str, text: str, *, example: str) -> tuple[int, ...]:
    """Returns the distinct comma-separated integers in a text, ascending.

    Args:
      name: of the option.
      text: its value.
      example: a valid value, for the message.

    Raises:
      OptionsError: it is not a list of positive integers.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise OptionsError(
            f"{name} must be comma-separated integers above 0. Received {text!r}; try {example}.",
            option=name,
        )
    return tuple(sorted({int(word) for word in words}))
