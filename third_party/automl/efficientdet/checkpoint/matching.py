"""Matching of a checkpoint's variables to those of a model, before any weight changes."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.automl.hparams import MODELS
from efficientdet.automl.identify import backbone_of, detectors_of, likely_models
from efficientdet.checkpoint.reader import Contents, Shape
from efficientdet.config import DetectorConfig
from efficientdet.detectors.config import DetectorParts
from efficientdet.errors import CheckpointError, CheckpointMismatchError

EXCLUDED = "excluded by"
"""Prefix of the reason for excluded variables."""

_BACKBONE = re.compile(r"(?:backbone|efficientnet-[^/]+)/")
_CLASSIFIER = re.compile(r"(?:backbone|efficientnet-[^/]+)/_?head/")


_LAST_LAYER = re.compile(r"[-_]predict/")


@dataclass(frozen=True)
class Match:
    """Correspondence between the variables of a model and those of a checkpoint."""

    fitting: dict[str, str]
    """Name → key of each variable to load."""
    skipped: dict[str, str]
    """Name → why it is not loaded, although the checkpoint has it, or because it is excluded."""
    missing: tuple[str, ...]
    """Names of variables that the checkpoint lacks."""
    left_over: tuple[str, ...]
    """Keys that the model lacks."""


def match(
    contents: Contents,
    variables: Mapping[str, keras.Variable],
    config: AnyDetectorConfig,
    exclude: re.Pattern[str] | None,
) -> Match:
    """Returns the matching variables.

    A layer is loaded as a whole or not at all: a bias is meaningless with a
    kernel other than the one it was trained with.
    """
    excluded = {name: f"{EXCLUDED} {exclude.pattern!r}" for name in variables if exclude and exclude.match(name)}
    wanted = {name: tuple(variable.shape) for name, variable in variables.items() if name not in excluded}
    found = {name: contents.keys[name] for name in wanted if name in contents.keys}
    reasons = {
        _layer_of(name): _difference(name, contents.shapes[key], wanted[name], config)
        for name, key in found.items()
        if tuple(contents.shapes[key]) != wanted[name]
    }
    used = set(contents.keys.values())
    return Match(
        fitting={name: key for name, key in found.items() if _layer_of(name) not in reasons},
        skipped=excluded | {name: reasons[_layer_of(name)] for name in found if _layer_of(name) in reasons},
        missing=tuple(name for name in wanted if name not in found),
        left_over=tuple(sorted(key for key in contents.shapes if key not in used)),
    )


def _layer_of(name: str) -> str:
    return name.rpartition("/")[0]


def _difference(name: str, there: Shape, here: Shape, config: AnyDetectorConfig) -> str:
    num_anchors = config.num_anchors if isinstance(config, DetectorConfig) else 1
    classes, remainder = divmod(there[-1], num_anchors) if there else (0, 1)
    is_class_count = name.startswith("class_net/class-predict/") and there[:-1] == here[:-1] and not remainder
    if is_class_count:
        return f"{classes} classes there, {config.num_classes} here"
    return f"shape {there} there, {here} here"


def refuse_stranger(contents: Contents, matched: Match, config: AnyDetectorConfig, path: Path) -> None:
    """Raises CheckpointError if the checkpoint belongs to another model, or none of it would be loaded.

    The variables of the backbone must match exactly. Of each other part that the
    checkpoint has, more than half must match, except for the last layers of the
    heads, which depend on classes and anchors.
    """
    misfits = [name for name, reason in matched.skipped.items() if not reason.startswith(EXCLUDED)]
    if not (matched.fitting or misfits or matched.missing):
        raise CheckpointError(f"exclude must leave something to load. It excludes every variable of {config.name}.")
    known = {_part_of(name, config) for name in (*matched.fitting, *misfits)}
    fits = _count_parts(matched.fitting, config)
    wanted = fits + _count_parts([*misfits, *matched.missing], config)
    strange = [part for part in sorted(known) if wanted[part] and 2 * fits[part] <= wanted[part]]
    other_backbone = [key for key in matched.left_over if _BACKBONE.match(key) and not _CLASSIFIER.match(key)]
    has_backbone = "backbone" in known or other_backbone
    if has_backbone and (fits["backbone"] < wanted["backbone"] or (wanted["backbone"] and other_backbone)):
        strange.insert(0, "backbone")
    if matched.fitting and not strange:
        return
    if not strange:
        found = "Nothing in it fits"
    elif strange == ["backbone"] and fits["backbone"] == wanted["backbone"]:
        found = f"Its backbone has {len(other_backbone)} additional variables"
    else:
        found = f"Of the {wanted[strange[0]]} variables of the {strange[0]}, {fits[strange[0]]} fit"
    likely = [name for name in likely_models(contents.shapes) if name not in (config.name, config.backbone_name)]
    models = [name for name in likely if name in MODELS] or detectors_of(likely)
    raise CheckpointMismatchError(
        f"{path} must be a checkpoint of {config.name}. {found}{_guess(likely, models)}.",
        models,
        tuple(dict.fromkeys(backbone_of(name) if name in MODELS else name for name in likely)),
        advice=_advice(likely, config),
    )


def _count_parts(names: Iterable[str], config: AnyDetectorConfig) -> Counter[str]:
    return Counter(_part_of(name, config) for name in names if not _LAST_LAYER.search(name))


def _part_of(name: str, config: AnyDetectorConfig) -> str:
    first = name.split("/", 1)[0]
    if first == config.backbone_name:
        return "backbone"
    return "neck" if first.startswith(("resample_p", "fpn_cells")) else first


def _guess(likely: Sequence[str], models: Sequence[str]) -> str:
    if not likely:
        return ""
    owner = f", the backbone of {' and '.join(models)}" if models and not set(models) & set(likely) else ""
    return f"; it looks like one of {' or '.join(likely)}{owner}"


def _advice(likely: Sequence[str], config: AnyDetectorConfig) -> str:
    build = "Build that network" if likely else "Build the network that it belongs to, with its hyper-parameters"
    # Encoders and classifiers are loaded by functions that leave nothing out.
    if not isinstance(config, DetectorConfig | DetectorParts):
        return f"{build}."
    return f"{build}, or leave parts out with exclude (a regular expression of automl's names)."
