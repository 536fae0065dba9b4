"""Warnings of classes that no image or pixel of a split has."""

from collections.abc import Sequence

from absl import logging

_NAMED = 5


def log_absent_classes(where: str, absent: Sequence[str], effect: str) -> None:
    """Warns of absent classes, if any; names the first five and counts the others.

    Args:
      where: what has none of them, such as "training image".
      absent: names of the classes.
      effect: on the training.
    """
    if not absent:
        return
    more = len(absent) - _NAMED
    others = f" and {more} other class{'es' if more > 1 else ''}" if more > 0 else ""
    logging.warning("No %s is of %s%s: %s.", where, ", ".join(absent[:_NAMED]), others, effect)
