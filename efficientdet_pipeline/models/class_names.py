"""Class names of a detector: from --hparams, else its own."""

from collections.abc import Mapping
from pathlib import Path

from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.label_map import read_label_map

HPARAMS_SOURCE = "label_map of --hparams"


def given_class_names(hparams: HparamsGiven) -> dict[int, str]:
    """Returns the label map of --hparams; empty if it has none."""
    return read_label_map(hparams.label_map, source=HPARAMS_SOURCE) or {}


def chosen_class_names(
    hparams: HparamsGiven, own: Mapping[int, str], *, num_classes: int | None, described_by: Path
) -> dict[int, str]:
    """Returns the class names of a trained detector, checkpoint or export: those of --hparams, else its own.

    Args:
      own: the label map beside the weights.
      num_classes: of the network; None if unknown.
      described_by: the file with the network and its own names.

    Raises:
      OptionsError: --hparams names classes that the network does not have.
    """
    given = given_class_names(hparams)
    if not given:
        return dict(own)
    largest = max(given)
    if num_classes is not None and largest > num_classes:
        raise OptionsError(
            f"{HPARAMS_SOURCE} must name the {num_classes} classes of the network ({described_by}). Received ids up to "
            f"{largest} ({given[largest]!r}); leave it out to use {_few(own) or 'the ids of the classes'}.",
            option="hparams",
        )
    check_class_ids(given, own, source=HPARAMS_SOURCE, described_by=str(described_by))
    chosen = dict(sorted({**own, **given}.items()))
    if own and chosen != own:
        logging.warning(
            "The class names are those of --hparams (%s), not those of %s (%s).", _few(chosen), described_by, _few(own)
        )
    return chosen


def check_class_ids(given: Mapping[int, str], own: Mapping[int, str], *, source: str, described_by: str) -> None:
    """Raises OptionsError if `given` has a name of `own` under another id: every detection would get a wrong name."""
    ids = {name: class_id for class_id, name in own.items()}
    moved = [(class_id, name) for class_id, name in given.items() if ids.get(name, class_id) != class_id]
    if moved:
        class_id, name = moved[0]
        raise OptionsError(
            f"{source} must give each class the id that it has in training. Received {class_id} for {name!r}, which is "
            f"{ids[name]} in {described_by} ({_few(own)}); leave it out, or use the ids of {described_by}.",
            option="label_map" if source == "--label_map" else "hparams",
        )


def _few(label_map: Mapping[int, str], count: int = 5) -> str:
    names = [f"{class_id} {name}" for class_id, name in sorted(label_map.items())]
    return ", ".join(names[:count]) + (" …" if len(names) > count else "")
