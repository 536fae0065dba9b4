"""Hyperparameters of --hparams: google/automl's 77 keys and the options of this program.

Network keys describe the detector and are passed to its config. Keys named like
an option of the mode set the default of that option; every other key is
reported as ignored, with the reason.
"""

import contextlib
import itertools
import os
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.parser import Given
from efficientdet_pipeline.options.paths import expand_home
from efficientdet_pipeline.options.schema import Declaration, Value, declarations

if TYPE_CHECKING:
    from efficientdet_pipeline.options.label_map import LabelMapValue

# Network hyperparameters that are options too.
BOTH = {"image_size", "num_classes", "name"}
# Hyperparameters without effect, with the reason for the warning.
WITHOUT_EFFECT = {
    "data_format": "the network is always channels_last; results are the same",
    "dataset_type": "it is internal to Google",
    "use_keras_model": "there is one network",
    "is_training_bn": "batch statistics are used in training only",
    "drop_remainder": "no image is dropped",
    "verbose": "the log is always detailed",
    "regenerate_source_id": "source ids come from the shards",
    "ckpt_var_scope": "variables are found by their names",
    "skip_mismatch": "pretrained weights are loaded as far as they fit, trained weights completely",
}
OPTIMIZATIONS = "model_optimizations"
"""Hyperparameter of google/automl's trainer until 2021: {prune: {…}, quantize: {…}, cluster: {…}}."""
# Options that --hparams cannot set, with the reason for the warning.
NOT_IN_HPARAMS = {
    "mode": "the mode is selected before --hparams is read; use --mode",
    "hparams": "a file of hyperparameters cannot include another; use --hparams",
    "overwrite": "an option that deletes a run must be given explicitly; use --overwrite",
    "model_dir": "google/automl's trainer records its own folder there; use --model_dir",
    "workspace": "the location of runs is not a hyperparameter; use --workspace",
    "run_name": "the location of the run is not a hyperparameter; use --run_name",
    "model_ckpts": "the location of the run is not a hyperparameter; use --model_ckpts",
    "num_shards": "in google/automl it is the number of TPU cores; for the number of files per split use --num_shards",
    "steps_per_epoch": "it follows from the dataset and the batch size; use --num_examples_per_epoch",
}


@dataclass(frozen=True)
class HparamsGiven:
    """The values of --hparams: of the network, of the options, and the ignored keys."""

    network: dict[str, object] = field(default_factory=dict)
    options: dict[str, Given] = field(default_factory=dict)
    label_map: "LabelMapValue" = None
    ignored: dict[str, str] = field(default_factory=dict)
    """Ignored keys, each with the reason."""


def read_hparams(text: str, source: str, options_class: type, all_options: Collection[str] = ()) -> HparamsGiven:
    """Returns the hyperparameters in `text` (`a=1,b.c=2`, or the path of a YAML file), by destination.

    Args:
      source: source of `text`, for messages.
      options_class: of the mode.
      all_options: names of the options of all modes, because a file may serve several modes.

    Raises:
      OptionsError: a key is unknown, or a value has a wrong type.
      MissingError: the YAML file does not exist.
    """
    from efficientdet.automl.hparams import HPARAMS, TF2_RECORD_KEYS, parse_hparams

    if not text:
        return HparamsGiven()
    known = declarations(options_class)
    try:
        parsed = parse_hparams(text, more={*known, *all_options, *TF2_RECORD_KEYS, OPTIMIZATIONS})
    except FileNotFoundError as error:
        raise MissingError(f"{error} (hparams came from {source}.)") from None
    except ValueError as error:
        raise OptionsError(f"{error} (hparams came from {source}.)", option="hparams") from None
    if {"name", "model_name"} <= parsed.keys() and parsed["name"] != parsed["model_name"]:
        raise OptionsError(
            f"name and model_name must be the same network. Received {parsed['name']} and {parsed['model_name']} in "
            f"--hparams from {source}; leave one of them out.",
            option="hparams",
        )
    place = f"--hparams ({text if len(text) <= 60 else text[:57] + '…'})"
    network: dict[str, object] = {}
    options: dict[str, Given] = {}
    ignored: dict[str, str] = {}
    for key, value in parsed.items():
        option = "model_name" if key == "name" else key
        is_option = option in known and option not in NOT_IN_HPARAMS and option not in WITHOUT_EFFECT
        is_default = value == HPARAMS[key].default if key in HPARAMS else value in (None, False, "")
        if key in HPARAMS and HPARAMS[key].owner == "network" and key not in BOTH | WITHOUT_EFFECT.keys():
            network[key] = value
        elif key == "label_map":
            continue
        elif key == OPTIMIZATIONS and "prune" in known:
            from efficientdet_pipeline.options.compression import optimizations_as_options

            options |= {name: Given(text, place) for name, text in optimizations_as_options(value).items()}
        elif is_option:
            options[option] = Given(_as_option(value, known[option], place), place)
        elif not is_default:
            ignored[key] = {**NOT_IN_HPARAMS, **WITHOUT_EFFECT}.get(key) or f"the mode has no option {key}"
    return HparamsGiven(network, options, parsed.get("label_map"), ignored)


def merge_hparams(
    given: Sequence[Given], options_class: type, all_options: Collection[str] = ()
) -> tuple[HparamsGiven, tuple[str, ...]]:
    """Returns the hyperparameters of several --hparams, merged by key, and the keys that a later one replaced.

    Args:
      given: in ascending precedence; an empty text discards those before it.
      options_class: of the mode.
      all_options: names of the options of all modes.
    """
    merged, replaced = HparamsGiven(), set[str]()
    for each in given:
        if not str(each.value).strip():
            merged, replaced = HparamsGiven(), set()
            continue
        for part in hparams_parts(str(each.value)):
            found = read_hparams(part, each.source, options_class, all_options)
            replaced |= _leaves(merged.network) & _leaves(found.network) | merged.options.keys() & found.options.keys()
            if found.label_map is not None and merged.label_map is not None:
                replaced.add("label_map")
            merged = HparamsGiven(
                deeply_merged(merged.network, found.network),
                {**merged.options, **found.options},
                merged.label_map if found.label_map is None else found.label_map,
                {**merged.ignored, **found.ignored},
            )
    return merged, tuple(sorted(replaced))


def hparams_parts(text: str) -> list[str]:
    """Returns the YAML files and the sequences of key=value pairs in a text of hyperparameters, in order.

    >>> hparams_parts("base.yaml,a=1,b=[2,3]")
    ['base.yaml', 'a=1,b=[2,3]']
    """
    from efficientdet.automl.hparams import split_outside_brackets

    text = expand_home(text.strip())
    if text.lower().endswith((".yaml", ".yml")) and os.path.isfile(text):
        return [text]
    try:
        items = split_outside_brackets(text)
    except ValueError:
        return [text]  # Reading it reports the error.
    parts: list[str] = []
    for is_file, run in itertools.groupby(items, key=_is_file):
        found = list(run)
        parts += [expand_home(item) for item in found] if is_file else [",".join(found)]
    return parts


def _is_file(item: str) -> bool:
    return "=" not in item and item.lower().endswith((".yaml", ".yml"))


def _leaves(values: Mapping[str, object], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in values.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}"}
    return found


def deeply_merged(lower: Mapping[str, object], upper: Mapping[str, object]) -> dict[str, object]:
    """Returns two mappings as one, those inside likewise; the upper one takes precedence."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = deeply_merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _as_option(value: object, declared: Declaration, place: str) -> Value:
    """Returns a hyperparameter's value, converted to the type of the option with the same name.

    Raises:
      OptionsError: it has another type.
    """
    kind = declared.kind
    words = dict(declared.words)
    if value is None and declared.optional:
        return None
    if isinstance(value, str) and value in words:
        return words[value]
    if isinstance(value, str) and kind in (int, float):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-4 as text.
            value = float(value)
    if value is None:
        return typing.cast(Value, kind())  # automl writes None where it means "off".
    if declared.name == "image_size" and isinstance(value, tuple | list):
        height, width = value
        return f"{width}x{height}"
    if kind is str and isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, bool):
        if kind is bool:
            return value
    elif isinstance(value, int | float) and abs(value) < 2**63:
        if kind is float:
            return float(value)
        if kind is int and value == int(value):
            return int(value)
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    expected += "".join(f" or {word}" for word in words)
    raise OptionsError(
        f"{declared.name} must be {expected}. Received {str(value)[:100]!r} from {place}; correct it there, or use "
        f"--{declared.name}.",
        option=declared.name,
    )


def hparam_text(value: object) -> str:
    """Returns a value as --hparams name it, floats with six digits at most."""
    if isinstance(value, tuple):
        return f"[{','.join(map(hparam_text, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def network_overrides(options: ModelOptions, hparams: HparamsGiven) -> Mapping[str, object]:
    """Returns the network's hyperparameters from options and --hparams."""
    overrides = dict(hparams.network)
    if options.image_size:
        overrides["image_size"] = options.image_size if "x" in options.image_size else int(options.image_size)
    if options.resize:
        overrides["resize"] = options.resize
    if options.num_classes is not None:
        overrides["num_classes"] = options.num_classes
    return overrides
