"""Counts in messages."""


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, such as "1 image" or "1,200 boxes"."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith(('s', 'x')) else 's'}"
