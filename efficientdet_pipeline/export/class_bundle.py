"""An export of a segmentation or classification as one folder: artifacts, description, labels, card, report."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from efficientdet_pipeline.errors import CannotWriteError
from efficientdet_pipeline.export.bundle import (
    CARD,
    HPARAMS,
    LABEL_MAP,
    ExportedFiles,
    check_any_written,
    noting_loss,
    write_checksums,
)
from efficientdet_pipeline.export.class_card import class_card
from efficientdet_pipeline.export.class_formats import ClassFormat, Decibels, TrainedClassNetwork
from efficientdet_pipeline.export.earlier import check_replaceable
from efficientdet_pipeline.export.gate import REPORT, GateReport, keep_measured
from efficientdet_pipeline.export.model_card import ModelFacts
from efficientdet_pipeline.inference.artifacts import CHECKSUMS
from efficientdet_pipeline.runs.output_files import NOTE, note_output_files
from tfrmod import fileio
from tfrmod.replacement import finish_replacement, replace_files

Measure = Callable[[Path, Sequence[ClassFormat], Mapping[str, Decibels]], GateReport]
"""From a folder of artifacts and their formats to the gate's report."""


def write_class_bundle(
    trained: TrainedClassNetwork,
    folder: Path,
    formats: Sequence[ClassFormat],
    *,
    facts: ModelFacts | None = None,
    measure: Measure | None = None,
) -> ExportedFiles:
    """Writes a network in several formats with description, label map and model card beside it, all or nothing.

    An earlier export is replaced as one when the new one is whole. Artifacts that
    lose more accuracy than they may are not kept; the report or `lost` names them.

    Args:
      trained: the network.
      folder: made where missing.
      formats: from `class_formats.class_formats_of`.
      facts: for the model card.
      measure: the accuracy of the artifacts, before they are put in place.

    Raises:
      OptionsError: another file has the name of one of the export's.
      MissingExtraError: a format's package is not installed.
      AccuracyError: no format is accurate enough.
      DataError: a file does not compute what the network computes at all.
      CannotWriteError: the files cannot be written.
    """
    network = trained.network
    artifacts = [name for each in formats for name in each.files(network)]
    names = [*artifacts, LABEL_MAP, HPARAMS, CARD, CHECKSUMS, REPORT]
    finish_replacement(folder)
    earlier = check_replaceable(folder, names)
    decibels: dict[str, Decibels] = {}
    lost: dict[str, str] = {}
    kept, report = list(formats), None

    def write_all(staging: Path) -> None:
        nonlocal kept, report
        for each in formats:
            with noting_loss(each.name, lost):
                decibels[each.name] = each.write(trained, each.path(staging, network))
        check_any_written(formats, lost)
        kept = [each for each in formats if each.name not in lost]
        network.write(staging / HPARAMS)
        labels = yaml.safe_dump(dict(network.label_map), sort_keys=False, allow_unicode=True)
        fileio.write_file(staging / LABEL_MAP, labels)
        if measure is not None:
            report = measure(staging, kept, decibels)
            names_kept = keep_measured(report, staging, {each.name: each.files(network) for each in kept})
            kept = [each for each in kept if each.name in names_kept]
        fileio.write_file(staging / CARD, class_card(network, facts or ModelFacts(), report))
        write_checksums(staging)
        note_output_files(staging, names, ())

    try:
        replace_files(folder, write_all, earlier={*names, *earlier, NOTE})
    except OSError as error:
        raise CannotWriteError(
            f"The export could not be written to {folder}: {error.strerror or error}. Name another place by "
            "--path_output, or free some space there."
        ) from error
    paths = {each.name: each.path(folder, network) for each in kept}
    return ExportedFiles(folder=folder, artifacts=paths, decibels=decibels, report=report, lost=lost)
