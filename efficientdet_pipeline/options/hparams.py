"""The mapping page: automl's 77 hyper-parameters, and which of our options each one is a default of.

Network keys describe the detector and go to its config. Run keys are the
defaults of the options of the same name; the rest is told to have no effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.declare import Declaration, declarations
from efficientdet_pipeline.options.reader import Given

# These describe the network but are options too: what a user types most.
BOTH = {"image_size", "num_classes", "name"}
# What a run of ours never needs to be told: the reason, for the warning.
WITHOUT_EFFECT = {
    "data_format": "the network is always channels_last; the numbers are the same",
    "dataset_type": "it is internal to Google",
    "use_keras_model": "there is one network",
    "is_training_bn": "batch statistics are used exactly while training",
    "drop_remainder": "no photo is dropped",
    "verbose": "the log says what happens",
    "regenerate_source_id": "photos are numbered by the shards",
    "ckpt_var_scope": "variables are found by their names",
    "skip_mismatch": "every load reports what it skipped",
}


@dataclass(frozen=True)
class HparamsGiven:
    """What --hparams gives: to the network, to the options, and in vain."""

    network: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Given] = field(default_factory=dict)
    label_map: Any = None
    ignored: dict[str, str] = field(default_factory=dict)
    """Keys without effect, each with the reason."""


def read_hparams(text: str, source: str, options_class: type) -> HparamsGiven:
    """Returns the hyper-parameters in `text` (`a=1,b.c=2`, or the path of a YAML file), sorted by who takes them.

    Raises:
      OptionsError: an unknown key or a wrong type.
      MissingError: the YAML file is not there.
    """
    from efficientdet.hparams import HPARAMS, parse_hparams

    if not text:
        return HparamsGiven()
    try:
        parsed = parse_hparams(text)
    except FileNotFoundError as error:
        raise MissingError(f"{error} (hparams came from {source}.)") from None
    except ValueError as error:
        raise OptionsError(f"{error} (hparams came from {source}.)", option="hparams") from None
    known = declarations(options_class)
    place = f"--hparams ({text if len(text) <= 60 else text[:57] + '…'})"
    network, options, ignored = {}, {}, {}
    for key, value in parsed.items():
        option = "model_name" if key == "name" else key
        if key == "label_map" or (key in WITHOUT_EFFECT and value == HPARAMS[key].default):
            continue
        if key in WITHOUT_EFFECT:
            ignored[key] = WITHOUT_EFFECT[key]
        elif HPARAMS[key].owner == "network" and key not in BOTH:
            network[key] = value
        elif option in known:
            options[option] = Given(_as_option(value, known[option]), place)
        elif value != HPARAMS[key].default:
            ignored[key] = f"the mode has no option {key}"
    return HparamsGiven(network, options, parsed.get("label_map"), ignored)


def _as_option(value: Any, declared: Declaration) -> Any:
    """Returns a hyper-parameter's value as the option of the same name has it."""
    kind = declared.kind
    if value is None and declared.optional:
        return None
    if kind is str:
        if value is None:
            return ""
        if isinstance(value, tuple | list):
            height, width = value
            return f"{width}x{height}"
        return str(value)
    # automl writes None where it means "off".
    return kind() if value is None else kind(value)


def network_overrides(options: Any, hparams: HparamsGiven) -> Mapping[str, Any]:
    """Returns the network's hyper-parameters that options and --hparams give together."""
    overrides = dict(hparams.network)
    if options.image_size:
        overrides["image_size"] = options.image_size if "x" in options.image_size else int(options.image_size)
    if options.num_classes is not None:
        overrides["num_classes"] = options.num_classes
    return overrides
