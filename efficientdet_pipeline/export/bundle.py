"""Export folder: artifacts, description, labels, thresholds, model card and checksums, replaced atomically."""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from absl import logging
from efficientdet.any_detector import AnyDetectorConfig

from efficientdet_pipeline.errors import AccuracyError, OptionsError
from efficientdet_pipeline.export.earlier import check_replaceable
from efficientdet_pipeline.export.formats import ExportFormat
from efficientdet_pipeline.export.gate import REPORT, GateReport, keep_measured
from efficientdet_pipeline.export.model_card import ModelFacts, model_card
from efficientdet_pipeline.export.quantization_search import Recipe
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.artifacts import CHECKSUMS
from efficientdet_pipeline.inference.thresholds import THRESHOLDS, Thresholds
from efficientdet_pipeline.runs.output_files import NOTE, note_output_files
from tfrmod import fileio
from tfrmod.replacement import finish_replacement, replace_files

LABEL_MAP = "label_map.yaml"
HPARAMS = "hparams_config.yaml"
CARD = "MODEL_CARD.md"
RECIPE = "quantization.yaml"

Decibels = Mapping[str, Mapping[str, float]]
"""Signal-to-noise ratios of logits and deltas, by format name, for writers that measure them."""
Measure = Callable[[Path, Sequence[ExportFormat], Decibels], GateReport]
"""From a folder of artifacts and their formats to the report of the accuracy gate."""


@dataclass(frozen=True, kw_only=True)
class ExportedFiles:
    """Paths of the files of an export."""

    folder: Path
    artifacts: Mapping[str, Path]
    """By format name."""
    decibels: Decibels
    report: GateReport | None = None
    """Report of the gate, if artifacts were measured; those that lost too much accuracy are not in `artifacts`."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """By name of a format that was not accurate enough to be written: the reason."""

    @property
    def saved_model(self) -> Path:
        """SavedModel folder for TensorFlow Serving and tf.saved_model.load."""
        return self._artifact("saved_model")

    @property
    def frozen_graph(self) -> Path:
        """A single file: the graph with its weights as constants."""
        return self._artifact("frozen")

    @property
    def label_map(self) -> Path:
        """YAML file, class id to name."""
        return self.folder / LABEL_MAP

    @property
    def hparams(self) -> Path:
        """YAML file for --hparams: the network, its canvas and its labels."""
        return self.folder / HPARAMS

    def check_complete(self) -> None:
        """Raises AccuracyError if a format was not accurate enough to be written."""
        if self.lost:
            raise AccuracyError(
                f"Not written: {', '.join(self.lost)}. {next(iter(self.lost.values()))} The other formats are in "
                f"{self.folder}."
            )

    def _artifact(self, name: str) -> Path:
        if name not in self.artifacts:
            raise OptionsError(
                f"The export must have the format {name}. Received {', '.join(self.artifacts) or 'none'}; add {name} "
                "to --formats.",
                option="formats",
            )
        return self.artifacts[name]


@dataclass(frozen=True, kw_only=True)
class Description:
    """Information about an export that only the run or the user has."""

    thresholds: Thresholds | None = None
    """Recommended minimum scores."""
    facts: ModelFacts | None = None
    """Facts for the model card."""
    recipe: Recipe | None = None
    """Layers that int8 keeps in float."""


def write_bundle(
    detector: TrainedDetector,
    folder: Path,
    formats: Sequence[ExportFormat],
    *,
    description: Description | None = None,
    measure: Measure | None = None,
) -> ExportedFiles:
    """Writes a detector in several formats, with description, labels, thresholds, model card and checksums.

    An earlier export is replaced atomically when the new one is complete; an
    interrupted process leaves one of them. Other files in `folder` are kept.
    Artifacts that lose too much accuracy are deleted; the report names them.

    Args:
      folder: created if missing.
      formats: from `formats.formats_of`.
      description: of the detector.
      measure: measures the accuracy of the artifacts before they are published.

    A format whose file is not accurate enough is left out, and is in `lost`.

    Raises:
      OptionsError: an unrelated file has the name of one of the export's.
      MissingExtraError: a format's package is not installed.
      AccuracyError: no format is accurate enough.
      DataError: a format needs calibration images, or its file does not reproduce the network's outputs at all.
      OSError: the files cannot be written.
    """
    about = description or Description()
    names = bundle_names(detector.config, formats)
    finish_replacement(folder)
    earlier = check_replaceable(folder, names)
    decibels: dict[str, Mapping[str, float]] = {}
    lost: dict[str, str] = {}
    kept, report = list(formats), None

    def write_all(staging: Path) -> None:
        nonlocal kept, report
        for number, each in enumerate(formats, start=1):
            with noting_loss(each.name, lost):
                ratios = each.write(detector, each.path(staging, detector.config))
                if isinstance(ratios, Mapping):
                    decibels[each.name] = ratios
            if each.is_served and any(later.is_served for later in formats[number:]):
                continue
            # The graphs of a format hold its weights many times.
            detector.release_served()
            if measure is not None or number < len(formats):
                _release_memory()
        check_any_written(formats, lost)
        kept = [each for each in formats if each.name not in lost]
        _write_beside(staging, detector, about)
        if measure is not None:
            report = measure(staging, kept, decibels)
            names_kept = keep_measured(report, staging, {each.name: each.files(detector.config) for each in kept})
            kept = [each for each in kept if each.name in names_kept]
        card = model_card(detector.config, detector.label_map, about.facts or ModelFacts(), report)
        fileio.write_file(staging / CARD, card)
        write_checksums(staging)
        note_output_files(staging, names, ())

    replace_files(folder, write_all, earlier={*names, *earlier, NOTE})
    artifacts = {each.name: each.path(folder, detector.config) for each in kept}
    return ExportedFiles(folder=folder, artifacts=artifacts, decibels=decibels, report=report, lost=lost)


@contextmanager
def noting_loss(name: str, lost: dict[str, str]) -> Iterator[None]:
    """Announces the writing of a format; notes the reason in `lost`, and warns, if it is not accurate enough."""
    logging.info("Writing %s.", name)
    try:
        yield
    except AccuracyError as error:
        logging.warning("%s is not written: %s", name, error)
        lost[name] = str(error)


def check_any_written(formats: Sequence[object], lost: Mapping[str, str]) -> None:
    """Raises AccuracyError if every format is in `lost`."""
    if len(lost) == len(formats):
        raise AccuracyError(next(iter(lost.values())))


def _release_memory() -> None:
    """Frees cycles, such as graphs that are no longer used, and returns what is free to the system."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # Other C libraries than glibc have no such function.
            ctypes.CDLL(None).malloc_trim(0)


def _write_beside(staging: Path, detector: TrainedDetector, about: Description) -> None:
    _write_yaml(staging / LABEL_MAP, {int(key): str(name) for key, name in detector.label_map.items()})
    settings = {**detector.hparams, **detector.config.to_hparams(), "label_map": dict(detector.label_map)}
    _write_yaml(staging / HPARAMS, settings)
    (about.thresholds or Thresholds(0.4)).write(staging / THRESHOLDS)
    if about.recipe is not None:
        about.recipe.write(staging / RECIPE)


def bundle_names(config: AnyDetectorConfig, formats: Sequence[ExportFormat]) -> list[str]:
    """Returns the names of all files and folders of an export."""
    artifacts = [name for each in formats for name in each.files(config)]
    return [*artifacts, LABEL_MAP, HPARAMS, THRESHOLDS, CARD, CHECKSUMS, REPORT, RECIPE]


def write_checksums(folder: Path) -> None:
    """Writes the SHA-256 of every file in a folder, in the format of `sha256sum --check`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (CHECKSUMS, NOTE))
    lines = [f"{fileio.sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    fileio.write_file(folder / CHECKSUMS, "".join(lines))


def _write_yaml(path: Path, content: Mapping[Any, object]) -> None:
    fileio.write_file(path, yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=True))
