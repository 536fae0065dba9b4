"""What training computes again for its gradient, to keep less of it in memory."""

import re

import keras
from efficientdet.checkpoint import block_names

from efficientdet_pipeline.errors import OptionsError


def recompute_by_name(detector: keras.Model, expression: str) -> None:
    """Lets the blocks in whose automl names `expression` is found be computed again; empty: none of them.

    Raises:
      OptionsError: it is no regular expression, or is found in no name.
    """
    blocks = block_names(detector)
    try:
        names = [name for name in blocks if expression and re.search(expression, name)]
    except re.error as error:
        raise OptionsError(
            f"grad_checkpoint must be true, false or a regular expression. Received {expression!r}: {error}; "
            "try 'blocks_', which computes the backbone's blocks again.",
            option="grad_checkpoint",
        ) from None
    if expression and not names:
        raise OptionsError(
            f"grad_checkpoint must be found in the name of a block. Received {expression!r}; "
            f"the names are {_shortened(list(blocks))}.",
            option="grad_checkpoint",
        )
    for part in (detector.backbone, detector.neck, detector.class_head, detector.box_head):
        if part is not None:
            part.recomputed = frozenset(number for name in names for home, number in [blocks[name]] if home is part)


def _shortened(names: list[str]) -> str:
    """Returns the first and the last of each row of names, `cell_0 to cell_2`."""
    rows: dict[str, list[str]] = {}
    for name in names:
        rows.setdefault(name.rstrip("0123456789"), []).append(name)
    return ", ".join(row[0] if len(row) == 1 else f"{row[0]} to {row[-1]}" for row in rows.values())
