"""Who converts the photos: processes here, or machines elsewhere."""

from pathlib import Path
from typing import Any

from efficientdet_pipeline.errors import OptionsError
from tfrmod.workers import Engine


def engine(options: Any, shared: Path) -> Engine | None:
    """Returns what spreads the work over other machines; None where it is done on this one.

    Args:
      options: with `runner` and `beam_options`.
      shared: a place near the shards, which all machines see.

    Raises:
      OptionsError: Beam is not installed, or knows no such runner.
    """
    if not options.runner:
        return None
    from tfrmod.beam import BeamWorkers

    try:
        return BeamWorkers(options.runner, options.beam_options, shared)
    except ValueError as error:
        raise OptionsError(f"{error}.", option="runner") from None
