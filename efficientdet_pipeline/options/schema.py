"""Declaration of options as dataclass fields, and composition of the options of a mode.

An option is a field of a frozen dataclass: the field's name is the flag, its
annotation the type; `option()` sets default, help text and traits. A mode's
dataclass is composed of groups (`options.optimizer.learning_rate`); the flags
of its groups are flat.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TypeVar

from efficientdet_pipeline.errors import OptionsError

Value = str | int | float | bool | None
"""Value of an option."""
T = TypeVar("T")
OptionsT = TypeVar("OptionsT", bound="Options")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """One option, for `--help` and the parser."""

    name: str
    kind: type
    """str, int, float or bool."""
    optional: bool
    """Whether None (not given) is allowed."""
    default: Value
    help: str
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    words: tuple[tuple[str, int], ...] = ()
    """Named values, such as auto for 0."""
    bare: bool = False
    """Whether it may be given without a value, which means true, like a switch."""
    shapes: bool = False
    """Whether the option affects training, so that it is part of the run's identity."""
    path: str = ""
    """How a leading `~` is expanded: `path`, `glob` or `globs`."""
    from_environment: bool = True
    """Whether an environment variable of the same name is read."""
    positional: bool = False
    """Whether words without a flag, after all flags, are its comma-separated value."""
    group: str = ""


def option(  # noqa: PLR0913 - one argument per trait
    default: T,
    text: str,
    *,
    choices: Sequence[str] = (),
    aliases: Sequence[str] = (),
    words: Mapping[str, int] | None = None,
    bare: bool = False,
    shapes: bool = False,
    path: str = "",
    from_environment: bool = True,
    positional: bool = False,
) -> T:
    """Declares an option with its default and help text; see `Declaration` for the other arguments."""
    named = tuple((words or {}).items())
    traits = {"choices": tuple(choices), "aliases": tuple(aliases), "words": named, "bare": bare}
    traits |= {"shapes": shapes, "path": path, "from_environment": from_environment, "positional": positional}
    metadata = {"help": text, **traits}
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base class of option groups and of the options of a mode."""

    def __post_init__(self) -> None:
        """Checks that numbers are finite; subclasses check the rest of their own options."""
        for name, value in vars(self).items():
            is_finite = not isinstance(value, float) or math.isfinite(value)
            check(is_finite, name, value, "a finite number", "leave it out for the default")

    def without_effect(self) -> dict[str, str]:
        """Returns options without effect given the values of this class, each with the reason.

        `hparams` means the hyperparameters of the network in --hparams.
        """
        return {}

    @classmethod
    def implied(cls, given: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
        """Returns the options that `given` implies: {implying option: {option: value}}, lowest precedence first."""
        del given
        return {}


_GROUPS: dict[type, dict[str, type[Options]]] = {}
_DECLARATIONS: dict[type, dict[str, Declaration]] = {}


def groups(options_class: type[Options]) -> dict[str, type[Options]]:
    """Returns the groups of an options dataclass: {field: class}."""
    if options_class not in _GROUPS:
        _GROUPS[options_class] = {
            name: hint
            for name, hint in typing.get_type_hints(options_class).items()
            if isinstance(hint, type) and issubclass(hint, Options)
        }
    return _GROUPS[options_class]


def declarations(options_class: type[Options]) -> dict[str, Declaration]:
    """Returns the options of a dataclass by name, including those of its groups."""
    if options_class not in _DECLARATIONS:
        _DECLARATIONS[options_class] = _declarations(options_class)
    return _DECLARATIONS[options_class]


def _declarations(options_class: type[Options]) -> dict[str, Declaration]:
    hints = typing.get_type_hints(options_class)
    title = (options_class.__doc__ or options_class.__name__).splitlines()[0].rstrip(".")
    found: dict[str, Declaration] = {}
    for field in dataclasses.fields(options_class):
        if field.name in groups(options_class):
            found |= declarations(groups(options_class)[field.name])
            continue
        kind, optional = _kind(hints[field.name])
        default = typing.cast(Value, field.default)
        found[field.name] = Declaration(
            name=field.name, kind=kind, optional=optional, default=default, group=title, **field.metadata
        )
    return found


def _kind(hint: object) -> tuple[type, bool]:
    if isinstance(hint, types.UnionType):
        return next(member for member in typing.get_args(hint) if member is not type(None)), True
    return typing.cast(type, hint), False


def compose(options_class: type[OptionsT], values: Mapping[str, Value] | None = None, /, **flags: Value) -> OptionsT:
    """Returns the options of a class from flat values by flag; other flags have their defaults.

    Raises:
      OptionsError: a check failed.
      TypeError: a flag is unknown.
    """
    flat = {**(values or {}), **flags}
    unknown = flat.keys() - declarations(options_class).keys()
    if unknown:
        raise TypeError(f"{options_class.__name__} has no options {', '.join(sorted(unknown))}.")
    return _build(options_class, flat)


def _build(options_class: type[OptionsT], flat: Mapping[str, Value]) -> OptionsT:
    parts = {name: _build(group, flat) for name, group in groups(options_class).items()}
    own = {field.name for field in dataclasses.fields(options_class)} - parts.keys()
    return options_class(**parts, **{name: value for name, value in flat.items() if name in own})


def flatten(options: Options) -> dict[str, Value]:
    """Returns the values of options by flag, in the order of `declarations`."""
    found: dict[str, Value] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        found |= flatten(value) if isinstance(value, Options) else {field.name: value}
    return found


def changed(options: Options) -> dict[str, Value]:
    """Returns the values of a group that are not its defaults."""
    declared = declarations(type(options))
    return {name: value for name, value in flatten(options).items() if value != declared[name].default}


def replace(options: OptionsT, **flags: Value) -> OptionsT:
    """Returns the options with changed values of some flags."""
    return compose(type(options), flatten(options), **flags)


def implied_options(options_class: type[Options], given: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Returns the options that `given` implies, for the class and its groups; see `Options.implied`."""
    found = dict(options_class.implied(given))
    for group in groups(options_class).values():
        found |= implied_options(group, given)
    return found


def options_without_effect(options: Options) -> dict[str, str]:
    """Returns the options without effect given the others, each with the reason."""
    found: dict[str, str] = {}
    for name in groups(type(options)):
        found |= options_without_effect(getattr(options, name))
    return found | options.without_effect()


def check(holds: bool, name: str, received: object, expected: str, advice: str) -> None:
    """Raises OptionsError unless `holds`, with the message: expected, received, advice."""
    if not holds:
        raise OptionsError(f"{name} must be {expected}. Received {received!r}; {advice}.", option=name)


def check_choice(name: str, received: str, choices: Sequence[str]) -> None:
    """Raises OptionsError with the nearest name if `received` is not in `choices`."""
    if received in choices:
        return
    known = ", ".join(choice or "''" for choice in choices)
    near = difflib.get_close_matches(received, choices, n=1, cutoff=0.4)
    advice = f"did you mean {near[0]}?" if near else "choose one of them."
    raise OptionsError(f"{name} must be one of {known}. Received {received!r}; {advice}", option=name)
