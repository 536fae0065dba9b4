"""Augmentation presets and configuration files.

A preset is plain data, option by option. Precedence: explicit options > file >
preset > defaults.
"""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.schema import Value

_OFF: dict[str, Value] = {
    "input_rand_hflip": False,
    "jitter_min": 1.0,
    "jitter_max": 1.0,
    "autoaugment_policy": "",
    "grid_mask": False,
    "hsv_hue": 0.0,
    "hsv_saturation": 0.0,
    "hsv_value": 0.0,
    "mosaic": 0.0,
    "mixup": 0.0,
    "copy_paste": 0.0,
}

RECIPES: dict[str, dict[str, Value]] = {
    "default": {},
    # As in evaluation.
    "none": _OFF,
    "flip": {**_OFF, "input_rand_hflip": True},
    # As in the training of the published COCO checkpoints: hundreds of epochs on a large dataset.
    "automl": {"jitter_min": 0.1, "jitter_max": 2.0},
    # For many images and many epochs.
    "strong": {
        "jitter_min": 0.3,
        "jitter_max": 1.7,
        "hsv_hue": 0.015,
        "hsv_saturation": 0.7,
        "hsv_value": 0.4,
        "mosaic": 0.5,
        "mixup": 0.1,
        "close_mosaic": 10,
    },
    # New backgrounds for the same objects, slightly changed colours, realistic sizes: for few images in many epochs.
    # A short run from random weights is too short for it: AP .208, default .390 (docs/scratch-recipe.md).
    "mixing": {
        "jitter_min": 0.6,
        "jitter_max": 1.5,
        "hsv_hue": 0.01,
        "hsv_saturation": 0.4,
        "hsv_value": 0.3,
        "mosaic": 0.3,
        "copy_paste": 0.3,
        "close_mosaic": 5,
    },
}
EARLIER_NAMES = {"small-data": "mixing"}
"""Preset names of earlier versions, which their runs keep using."""
RECIPES |= {name: RECIPES[now] for name, now in EARLIER_NAMES.items()}


def read_augment_config(path: str, kinds: Mapping[str, type]) -> dict[str, Value]:
    """Returns the options in a YAML file of augmentation by name; `steps` becomes `augment_steps`.

    Args:
      path: a mapping of options to values, and `steps`, a list.
      kinds: the options that the file may contain, with their types.

    Raises:
      MissingError: the file does not exist.
      OptionsError: it is not a YAML mapping, or has an unknown name or a wrong type.
    """
    content = _yaml_of(path)
    steps = content.pop("steps", None)
    found: dict[str, Value] = {} if steps is None else {"augment_steps": _as_text(steps, path)}
    for name, value in content.items():
        if name not in kinds:
            near = difflib.get_close_matches(str(name), [*kinds, "steps"], n=1, cutoff=0.4)
            advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(kinds)}, steps."
            raise OptionsError(f"Unknown name {name!r} in {path} (augment_config); {advice}", option="augment_config")
        found[name] = _as_kind(name, value, kinds[name], path)
    return found


def _yaml_of(path: str) -> dict[str, object]:
    import yaml

    try:
        content = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise MissingError(f"augment_config must be a YAML file. The file {path} does not exist.") from None
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise OptionsError(
            f"augment_config must be plain YAML. {path} is not: {reason}", option="augment_config"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise OptionsError(
            f"augment_config must map options to values, for example `mosaic: 0.5`. {path} contains "
            f"{type(content).__name__}; start a list of steps with `steps:`.",
            option="augment_config",
        )
    return dict(content)


def _as_text(steps: object, path: str) -> str:
    try:
        return json.dumps(steps)
    except (TypeError, ValueError, RecursionError) as error:  # A date, or a list that contains itself.
        raise OptionsError(
            f"steps must consist of names and numbers. Those in {path} (augment_config) do not: {error}.",
            option="augment_config",
        ) from None


def _as_kind(name: str, value: object, kind: type, path: str) -> Value:
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is str and value is None:
        return ""
    if not fits:
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
        raise OptionsError(f"{name} must be {wanted}. Received {value!r} in {path} (augment_config).", option=name)
    return cast(Value, value)
