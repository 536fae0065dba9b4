"""Named transforms of --augment_steps: their arguments and defaults, as plain data.

Names and arguments are those of tfdet's pipelines; `augment` implements them.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from efficientdet_pipeline.errors import OptionsError

REQUIRED = object()
INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")

_SIZE = {"height": REQUIRED, "width": REQUIRED}
_RESIZED = {"interpolation": "bilinear"}
ARGUMENTS: dict[str, dict[str, object]] = {
    "CenterCrop": _SIZE,
    "RandomSized": {"min_max_height": REQUIRED, **_SIZE, "w2h_ratio": 1.0, **_RESIZED},
    "RandomResizedCrop": {**_SIZE, "scale": (0.08, 1.0), "ratio": (0.75, 4 / 3), **_RESIZED},
    "LongestMaxSize": {"max_size": 1024, **_RESIZED},
    "SmallestMaxSize": {"max_size": 1024, **_RESIZED},
    "RandomScale": {"scale_limit": 0.1, **_RESIZED},
    "resize": {**_SIZE, **_RESIZED},
    "HorizontalFlip": {},
    "compose": {},
    "OneOf": {},
}
"""Arguments of each step with their defaults; every step also takes its probability `p`."""
OF_STEPS = ("compose", "OneOf")
PROBABILITY = {"RandomScale": 0.5, "HorizontalFlip": 0.5}
ELSEWHERE = {
    "Normalize": "every image is normalized as the network requires; --hparams=mean_rgb=…,stddev_rgb=… changes that",
    "InputReadRecordFiles": "--train_file_pattern names the shards",
    "KeepAndProcessBBox": "a batch contains only images, boxes and class ids",
}
BY_THE_LOADER = ("num_parallel_calls", "deterministic", "dynamic")


@dataclass(frozen=True)
class Step:
    """One named step."""

    name: str
    probability: float
    arguments: dict[str, object] = field(default_factory=dict)
    steps: tuple["Step", ...] = ()
    """Steps inside `compose` and `OneOf`."""


def read_steps(text: str) -> tuple[Step, ...]:
    """Returns the steps in a YAML (or JSON) list such as `[{name: CenterCrop, height: 300, width: 400, p: 0.5}]`.

    Raises:
      OptionsError: a name or argument is unknown, an argument is missing, or a number is out of range.
    """
    if not text:
        return ()
    import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _error(f"Steps must be a YAML list. Received {text!r:.200}: {' '.join(str(error).split())}") from None
    return _steps(content) if content is not None else ()


def _steps(content: object) -> tuple[Step, ...]:
    if not isinstance(content, list):
        raise _error(
            f"Steps must be a list of mappings, each with a name. Received {content!r}; try [{{name: HorizontalFlip}}]."
        )
    return tuple(_step(each) for each in content)


def _step(content: object) -> Step:
    given = {"name": content} if isinstance(content, str) else content
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise _error(
            f"A step must have a name. Received {content!r}; try {{name: CenterCrop, height: 300, width: 400}}."
        )
    given = dict(given)
    name = given.pop("name")
    _check_name(name)
    probability = given.pop("p", PROBABILITY.get(name, 1.0))
    if given.pop("always_apply", False):
        probability = 1.0
    if not _is_number(probability) or not 0 <= probability <= 1:
        raise _error(f"p of {name} must be between 0 and 1. Received {probability!r}; leave it out for the default.")
    if name in OF_STEPS:
        inner = _steps(given.pop("list_pipeline", []))
        if not inner:
            raise _error(f"{name} must have steps to choose from: list_pipeline is empty.")
        _arguments(name, given)
        return Step(name, probability, steps=inner)
    return Step(name, probability, _arguments(name, given))


def _check_name(name: str) -> None:
    if name in ELSEWHERE:
        raise _error(f"{name} is not an augmentation step: {ELSEWHERE[name]}. Leave it out of the list.")
    if name not in ARGUMENTS:
        lower = {known.lower(): known for known in ARGUMENTS}
        longer = [known for known in lower if known.startswith(name.lower())]
        near = longer or difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.4)
        advice = f"did you mean {lower[near[0]]}?" if near else f"known: {', '.join(ARGUMENTS)}."
        raise _error(f"Unknown step {name!r}; {advice}")


def _arguments(name: str, given: dict[str, object]) -> dict[str, object]:
    known = ARGUMENTS[name]
    for key in given:
        if key in BY_THE_LOADER:
            raise _error(f"{key} of {name} is set by the input pipeline; leave it out.")
        if key not in known:
            near = difflib.get_close_matches(key, [*known, "p"], n=1, cutoff=0.4)
            advice = f"did you mean {near[0]}?" if near else f"known: {', '.join([*known, 'p'])}."
            raise _error(f"{name} has no argument {key!r}; {advice}")
    values = {**known, **given}
    missing = [key for key, value in values.items() if value is REQUIRED]
    if missing:
        raise _error(f"{name} must have {' and '.join(missing)}. Received {given!r}.")
    return {key: _checked(name, key, value) for key, value in values.items()}


def _checked(name: str, key: str, value: object) -> object:
    if key in {"height", "width", "max_size"}:
        good, wanted = isinstance(value, int) and not isinstance(value, bool) and value >= 1, "an integer above 0"
    elif key in {"scale", "ratio", "min_max_height"}:
        pair = list(value) if isinstance(value, list | tuple) else []
        good = len(pair) == 2 and all(map(_is_number, pair)) and 0 < pair[0] <= pair[1]
        wanted = "a pair of numbers above 0, the smaller first"
        value = tuple(pair)
        if key == "scale" and good and pair[1] > 1:
            good, wanted = False, "a pair of numbers above 0 and at most 1, fractions of the image's area"
    elif key == "interpolation":
        good, wanted = value in INTERPOLATIONS, f"one of {', '.join(INTERPOLATIONS)}"
    elif key == "scale_limit":
        good, wanted = _is_number(value) and 0 <= value < 1, "at least 0 and below 1"
    else:
        good, wanted = _is_number(value) and value > 0, "a number above 0"
    if not good:
        raise _error(f"{key} of {name} must be {wanted}. Received {value!r}.")
    return value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _error(sentence: str) -> OptionsError:
    return OptionsError(sentence, option="augment_steps")
