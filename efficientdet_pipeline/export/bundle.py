"""An export as one folder: artifacts, description, labels, thresholds, model card and checksums, replaced as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.export.earlier import earlier_files
from efficientdet_pipeline.export.formats import ExportFormat
from efficientdet_pipeline.export.model_card import ModelFacts, model_card
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.thresholds import THRESHOLDS, Thresholds
from efficientdet_pipeline.runs.output_files import NOTE, check_output_files, note_output_files
from tfrmod import fileio
from tfrmod.replacement import finish_replacement, replace_files

LABEL_MAP = "label_map.yaml"
HPARAMS = "hparams_config.yaml"
CARD = "MODEL_CARD.md"
CHECKSUMS = "sha256sums.txt"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Where the files of an export are."""

    folder: Path
    artifacts: Mapping[str, Path]
    """By name of format."""
    decibels: Mapping[str, Mapping[str, float]]
    """Signal to noise of logits and deltas, by name of format, where the writer measured it."""


def write_bundle(
    detector: TrainedDetector,
    folder: Path,
    formats: Sequence[ExportFormat],
    *,
    thresholds: Thresholds | None = None,
    facts: ModelFacts | None = None,
) -> Bundle:
    """Writes a detector in several formats with everything beside it.

    An earlier export is replaced as one when the new one is whole; a process that
    is killed leaves one of them. Other files in `folder` stay.

    Args:
      folder: made where missing.
      formats: from `formats.formats_of`.
      thresholds: recommended minimum scores.
      facts: for the model card.

    Raises:
      OptionsError: another file has the name of one of the export's.
      MissingExtraError: a format's package is not installed.
      DataError: a format needs calibration images, or its file does not compute what the network computes.
      OSError: the files cannot be written.
    """
    names = bundle_names(detector.config, formats)
    finish_replacement(folder)
    earlier = check_output_files(folder, names, option="path_output", known=earlier_files(folder))
    decibels: dict[str, Mapping[str, float]] = {}

    def write_all(staging: Path) -> None:
        for each in formats:
            ratios = each.write(detector, each.path(staging, detector.config))
            if isinstance(ratios, Mapping):
                decibels[each.name] = ratios
        _write_yaml(staging / LABEL_MAP, {int(key): str(name) for key, name in detector.label_map.items()})
        settings = {**detector.hparams, **detector.config.to_hparams(), "label_map": dict(detector.label_map)}
        _write_yaml(staging / HPARAMS, settings)
        (thresholds or Thresholds(0.4)).write(staging / THRESHOLDS)
        card = model_card(detector.config, detector.label_map, facts or ModelFacts())
        fileio.write_file(staging / CARD, card)
        write_checksums(staging)
        note_output_files(staging, names, ())

    replace_files(folder, write_all, earlier={*names, *earlier, NOTE})
    artifacts = {each.name: each.path(folder, detector.config) for each in formats}
    return Bundle(folder=folder, artifacts=artifacts, decibels=decibels)


def bundle_names(config: DetectorConfig, formats: Sequence[ExportFormat]) -> list[str]:
    """Returns the names of all files and folders of an export."""
    artifacts = [name for each in formats for name in each.files(config)]
    return [*artifacts, LABEL_MAP, HPARAMS, THRESHOLDS, CARD, CHECKSUMS]


def write_checksums(folder: Path) -> None:
    """Writes the SHA-256 of every file below a folder, as `sha256sum --check` reads it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (CHECKSUMS, NOTE))
    lines = [f"{fileio.sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    fileio.write_file(folder / CHECKSUMS, "".join(lines))


def check_checksums(folder: Path) -> int:
    """Makes sure that the files of an export are those that were written; returns their number.

    Raises:
      DataError: a file is missing or another one, or there is no list of checksums.
    """
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder} must hold an export with {CHECKSUMS}. Reading that failed: {error}.") from error
    for line in lines:
        expected, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or fileio.sha256_of(path) != expected:
            state = "another content" if path.is_file() else "nothing"
            raise DataError(
                f"{path} must be as it was exported, with the SHA-256 {expected[:12]}… of {CHECKSUMS}. Received "
                f"{state}; export again, or copy the export again."
            )
    return len(lines)


def _write_yaml(path: Path, content: Mapping[Any, object]) -> None:
    fileio.write_file(path, yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=True))
