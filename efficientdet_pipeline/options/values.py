"""Values of options that are lists in a text."""

from efficientdet_pipeline.errors import OptionsError


def positive_numbers(name: str, text: str, *, example: str) -> tuple[int, ...]:
    """Returns the different whole numbers in a text, separated by commas, the smallest first.

    Args:
      name: of the option.
      text: its value.
      example: of a good value.

    Raises:
      OptionsError: it is no list of whole numbers above 0.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise OptionsError(
            f"{name} must be whole numbers above 0, separated by commas. Received {text!r}; try {example}.",
            option=name,
        )
    return tuple(sorted({int(word) for word in words}))
