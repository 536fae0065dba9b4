"""Search space: which options are searched, between which bounds; read from YAML and checked before any training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from efficientdet.hparams_yaml import read_hparams_yaml

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.dataset import DatasetOptions
from efficientdet_pipeline.options.hparams import merge_hparams
from efficientdet_pipeline.options.keywords import keyword_value
from efficientdet_pipeline.options.parser import Given
from efficientdet_pipeline.options.schema import Declaration, OptionsT, declarations, replace
from efficientdet_pipeline.options.synonyms import suggest_argument
from efficientdet_pipeline.options.training import TrainOptions

if TYPE_CHECKING:
    import optuna

Searched = str | int | float | bool
HPARAMS = "hparams."
"""Prefix of the network's hyper-parameters, which have no option of their own."""
_RANGE_KEYS = {"low", "high", "log", "step"}
_TRAINING = {"num_epochs", "resize", "augment_recipe"}
"""Options that may be searched beside those that make one run differ from another."""
_EXPECTED_RANGE = "finite numbers, low below high, a step that fits between them, and for log: low above 0 and no step"
_EXAMPLE = "write learning_rate: {low: 0.001, high: 0.1, log: true}, or optimizer: [sgd, adam]"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An option, or a hyper-parameter of the network, with the values it may have."""

    name: str
    choices: tuple[Searched, ...] = ()
    """Empty for a range."""
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Returns whether the range is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step, int | None)

    def suggest(self, trial: "optuna.Trial") -> Searched:
        """Returns a value drawn by a trial, the same at each call."""
        if self.choices:
            return cast(Searched, trial.suggest_categorical(self.name, self.choices))
        if self.is_whole:
            step = int(self.step) if self.step else 1
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    @property
    def extremes(self) -> tuple[Searched, ...]:
        """Returns the choices, or both ends of the range."""
        return self.choices or (self.low, self.high)

    def argument(self, value: Searched) -> str:
        """Returns the argument of the command line that sets a value."""
        text = str(value).lower() if isinstance(value, bool) else f"{value}"
        if self.name.startswith(HPARAMS):
            return f"--hparams={self.name.removeprefix(HPARAMS)}={text}"
        return f"--{self.name}={text}"


def read_space(path: str | Path) -> tuple[Parameter, ...]:
    """Returns the parameters of a YAML file, in its order.

    Raises:
      MissingError: there is no such file.
      OptionsError: it is no mapping of options to values, or a value cannot be.
    """
    place = Path(path)
    if not place.is_file():
        raise MissingError(f"There is no search space {str(place)!r}. Check --space, the path of a YAML file.")
    try:
        content = read_hparams_yaml(place)
    except ValueError as error:
        raise OptionsError(f"{error} To search an option, {_EXAMPLE}.", option="space") from error
    if not content:
        raise OptionsError(f"{place} has no options to search; {_EXAMPLE}.", option="space")
    return tuple(_parameter(place, name, value) for name, value in content.items())


def check_values(path: str, parameters: tuple[Parameter, ...], options: OptionsT) -> None:
    """Raises OptionsError if a choice, or an end of a range, is a value that its option does not allow.

    Args:
      path: of the search space, for the message.
      parameters: of the search space.
      options: of the study.
    """
    for each in parameters:
        for value in () if each.name.startswith(HPARAMS) else each.extremes:
            try:
                replace(options, **{each.name: value})
            except OptionsError as error:
                raise OptionsError(f"{path}, {each.name}: {error}", option="space") from error


def _parameter(place: Path, name: str, value: object) -> Parameter:
    declared = None if name.startswith(HPARAMS) else _declared(place, name)
    if isinstance(value, list):
        found = Parameter(name=name, choices=tuple(_choice(place, name, declared, each) for each in value))
        if len(set(found.choices)) < max(2, len(value)):
            raise _wrong(place, f"{name} must have two different choices or more", value)
    elif isinstance(value, Mapping) and {"low", "high"} <= set(value) <= _RANGE_KEYS:
        found = _range(place, name, declared, value)
    else:
        raise _wrong(place, f"{name} must be a list of choices, or low and high with log or step", value)
    if declared is None:
        _check_network(place, found)
    return found


def _declared(place: Path, name: str) -> Declaration:
    known = declarations(TrainOptions)
    if name not in known:
        near = suggest_argument(name, known)
        advice = near.rstrip("?") if near.endswith("?") else _EXAMPLE
        raise _wrong(place, f"{name} must be an option of a training, or hparams.KEY", name, advice)
    if name in declarations(DatasetOptions):
        raise _wrong(place, f"{name} cannot be searched: the images are converted once for all trials", name)
    if not known[name].shapes and name not in _TRAINING:
        raise _wrong(place, f"{name} cannot be searched: it does not change what is trained", name)
    return known[name]


def _choice(place: Path, name: str, declared: Declaration | None, value: object) -> Searched:
    if not isinstance(value, str | int | float):
        raise _wrong(place, f"{name} must have plain values as choices", value)
    if declared is None:
        return value
    try:
        checked = keyword_value(declared, _typed(declared, value))
    except OptionsError as error:
        raise _wrong(place, f"the choices of {name} must be values of --{name}", value) from error
    if declared.choices and checked not in declared.choices:
        raise _wrong(place, f"the choices of {name} must be of {', '.join(declared.choices)}", value)
    return value if checked is None or isinstance(value, str) else checked


def _typed(declared: Declaration, value: Searched) -> Searched:
    number = _number(value) if declared.kind in (int, float) else value
    return number if isinstance(number, int | float) else value


def _range(place: Path, name: str, declared: Declaration | None, value: Mapping[object, object]) -> Parameter:
    low, high, step = (_number(value.get(key)) for key in ("low", "high", "step"))
    log = value.get("log", False)
    if not isinstance(low, int | float) or not isinstance(high, int | float) or not isinstance(log, bool):
        raise _wrong(place, f"low and high of {name} must be numbers, and log true or false", dict(value))
    if not isinstance(step, int | float | None):
        raise _wrong(place, f"step of {name} must be a number", step)
    if declared is not None and declared.kind not in (int, float):
        raise _wrong(place, f"{name} is no number and must have a list of choices", dict(value))
    whole = declared is not None and declared.kind is int
    if whole and not all(isinstance(each, int | None) for each in (low, high, step)):
        raise _wrong(place, f"low, high and step of {name} must be whole numbers", dict(value))
    is_finite = all(math.isfinite(each) for each in (low, high, step or 1))
    is_step = step is None or 0 < step <= high - low
    if not (is_finite and low < high and is_step) or (log and (low <= 0 or step is not None)):
        raise _wrong(place, f"{name} must have {_EXPECTED_RANGE}", dict(value))
    if declared is not None and declared.kind is float:
        low, high, step = float(low), float(high), None if step is None else float(step)
    return Parameter(name=name, low=low, high=high, step=step, log=log)


def _number(value: object) -> object:
    """Returns a number; YAML 1.1 reads 1e-4 as text."""
    if isinstance(value, bool) or not isinstance(value, str):
        return None if isinstance(value, bool) else value
    try:
        return float(value)
    except ValueError:
        return value


def _check_network(place: Path, parameter: Parameter) -> None:
    """Raises OptionsError if a hyper-parameter of the network is unknown or is an option's."""
    key = parameter.name.removeprefix(HPARAMS)
    if key in declarations(TrainOptions):
        raise _wrong(place, f"{parameter.name} is the option {key}", parameter.name, f"write {key}")
    for value in parameter.extremes:
        text = parameter.argument(value).removeprefix("--hparams=")
        merge_hparams((Given(text, f"{place}, {parameter.name}"),), TrainOptions, declarations(TrainOptions))


def _wrong(place: Path, expected: str, received: object, advice: str = _EXAMPLE) -> OptionsError:
    return OptionsError(f"{place}: {expected}. Received {str(received)[:200]!r}; {advice}.", option="space")
