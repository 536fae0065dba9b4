"""Options parser: command line, option files and environment.

Precedence: command line > @file > environment > training service (`services`)
> --hparams > default. Each value keeps its source, for errors and for args.yaml.
A value that is overridden is not validated.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from absl import flags

from efficientdet_pipeline.errors import OptionsError, PipelineError
from efficientdet_pipeline.options.keywords import OptionValue, keyword_value, source_of_keyword
from efficientdet_pipeline.options.option_file import normalize_token, read_lines, strip_comment
from efficientdet_pipeline.options.paths import expand_home, expanded
from efficientdet_pipeline.options.schema import (
    Declaration,
    Options,
    OptionsT,
    Value,
    compose,
    declarations,
    implied_options,
)
from efficientdet_pipeline.options.services import Offer, offers_in_effect
from efficientdet_pipeline.options.synonyms import suggest_argument, suggest_mode, suggest_option

DEFAULT = "default"
MERGED = ("hparams",)
"""Options whose values from several sources are merged; for all others the last value is used."""
_ENVIRONMENT = "the environment variable"
_FILE_FLAGS = ("--config", "-config", "--flagfile", "-flagfile")
# absl would accept it and ignore every misspelt option in it.
_REFUSED_FLAGS = ("undefok",)
# Lines of an option file that enclose settings for the embedded dataset.
DEMO_BEGIN = "# demo settings: begin"
DEMO_END = "# demo settings: end"


@dataclass(frozen=True)
class Given:
    """A value given by the user, and its source."""

    value: Value
    source: str
    is_demo: bool = False
    """Whether it is in the demo block of an option file."""
    fault: OptionsError | None = field(default=None, compare=False)
    """Why the value is invalid; raised only if nothing overrides it."""
    earlier: tuple["Given", ...] = field(default=(), compare=False)
    """Values of lower precedence, lowest first, of an option whose values are merged."""

    @property
    def all(self) -> tuple["Given", ...]:
        """Returns every given value, the one of highest precedence last."""
        return (*self.earlier, replace(self, earlier=()))


@dataclass(frozen=True)
class Sources:
    """The parsed values by option, before the mode's dataclass validates them."""

    mode: str
    given: dict[str, Given]
    """Given options that apply to the mode."""
    without_effect: dict[str, Given]
    """Options of other modes."""
    not_taken: tuple[str, ...] = ()
    """Environment variables named like an option that is never read from the environment."""

    def source_of(self, name: str) -> str:
        """Returns the source of an option's value."""
        return self.given[name].source if name in self.given else DEFAULT


class Reader:
    """Parser of the options of all modes; `classes` maps a mode to its dataclass."""

    def __init__(self, classes: Mapping[str, type[Options]], default_mode: str):
        self.classes = classes
        self.default_mode = default_mode
        self.known: dict[str, Declaration] = {}
        for options_class in dict.fromkeys(classes.values()):
            for name, declared in declarations(options_class).items():
                self.known.setdefault(name, declared)
        self.alias_of = {alias: name for name, declared in self.known.items() for alias in declared.aliases}
        self._flags = self._define_flags()

    def read(
        self, argv: Sequence[str], environ: Mapping[str, str], offers: Mapping[str, Offer] | None = None
    ) -> Sources:
        """Returns the options in `argv` (without the program's name), its @files, `environ` and a training service."""
        from_files: dict[str, Given] = {}
        tokens: list[str] = []
        for token in _join_config(argv):
            if token.startswith("@"):
                from_files = _over(from_files, self._read_file(token[1:]))
            else:
                tokens.append(token)
        typed = _over(from_files, self._parse(tokens, "the command line"))
        # The environment contains variables of other programs: only options of the mode are read.
        offers = dict(offers or {})
        offered_mode = self._parse_offers({"mode": offers.pop("mode")} if "mode" in offers else {})
        mode = self._mode(_over(_over(offered_mode, self._read_environment(environ, ["mode"])), typed))
        declared = declarations(self.classes[mode])
        taken = [name for name in declared if declared[name].from_environment]
        given = _over(self._read_environment(environ, taken), typed)
        in_effect = offers_in_effect(offers, mode, {name: each.source for name, each in given.items()})
        given = _over(self._parse_offers(in_effect), given)
        for each in given.values():
            if each.fault is not None:
                raise each.fault
        given = {name: expanded(each, self.known[name]) for name, each in given.items()}
        return Sources(
            mode=mode,
            given=self._with_implied(mode, {name: each for name, each in given.items() if name in declared}),
            without_effect={name: each for name, each in given.items() if name not in declared},
            not_taken=tuple(
                name
                for name in declared
                if not declared[name].from_environment and name not in given and environ.get(name, "").strip()
            ),
        )

    def read_keywords(self, mode: str, keywords: Mapping[str, OptionValue]) -> Sources:
        """Returns the options in Python keyword arguments; environment and option files are not read.

        Raises:
          OptionsError: a keyword is not an option of the mode, or its value has another type.
        """
        declared = declarations(self.classes[mode])
        given: dict[str, Given] = {}
        for keyword, value in keywords.items():
            name = self.alias_of.get(keyword, keyword)
            if name not in declared:
                raise OptionsError(f"Unknown argument {keyword}; {suggest_argument(keyword, declared)}")
            each = Given(keyword_value(declared[name], value), source_of_keyword(keyword))
            given[name] = expanded(each, declared[name])
        return Sources(mode=mode, given=self._with_implied(mode, given), without_effect={})

    def asks_for(self, name: str, argv: Sequence[str], environ: Mapping[str, str]) -> bool:
        """Returns the value of a switch, even if other options are invalid."""
        found: dict[str, Given] = {}
        with contextlib.suppress(PipelineError):
            found |= self._read_environment(environ, [name])
        with contextlib.suppress(PipelineError):
            for token in _join_config(argv):
                if token.startswith("@"):
                    with contextlib.suppress(PipelineError):
                        found |= self._read_file(token[1:])
        for token in argv:
            if token.lstrip("-").partition("=")[0] in {name, f"no{name}"} and token.startswith("-"):
                with contextlib.suppress(PipelineError):
                    found |= self._parse([token], "the command line")
        return name in found and bool(found[name].value)

    def _with_implied(self, mode: str, given: dict[str, Given]) -> dict[str, Given]:
        """Returns `given` and the options that it implies, such as those of an augmentation preset."""
        implied: dict[str, Given] = {}
        values_given = {name: each.value for name, each in given.items()}
        for name, values in implied_options(self.classes[mode], values_given).items():
            where = f"--{name}={given[name].value}" if name in given else f"--{name}"
            implied |= {each: Given(value, where) for each, value in values.items()}
        return {**implied, **given}

    def _mode(self, given: Mapping[str, Given]) -> str:
        if "mode" not in given:
            return self.default_mode
        mode, source = str(given["mode"].value), given["mode"].source
        if mode not in self.classes:
            raise OptionsError(
                f"mode must be one of {', '.join(self.classes)}. Received {mode!r} from {source}; "
                f"{suggest_mode(mode, self.classes)}",
                option="mode",
            )
        return mode

    def build(
        self, sources: Sources, options_class: type[OptionsT], defaults: Mapping[str, Given] | None = None
    ) -> OptionsT:
        """Returns the options of a mode; `defaults` (from --hparams) have lower precedence.

        Raises:
          OptionsError: a check failed; the message states the source of the value.
        """
        declared = declarations(options_class)
        used = {name: each for name, each in (defaults or {}).items() if name not in sources.given}
        values = {name: expanded(each, declared[name]).value for name, each in used.items()}
        values |= {name: each.value for name, each in sources.given.items()}
        values["mode"] = sources.mode
        try:
            return compose(options_class, values)
        except OptionsError as error:
            place = used.get(error.option or "")
            place = sources.given.get(error.option or "", place)
            if place is None:
                raise
            raise OptionsError(f"{error} ({error.option} came from {place.source}.)", option=error.option) from None

    # absl parses the flags, so that --flag, --noflag, --flag=value and --flag value work as usual.

    def _define_flags(self) -> flags.FlagValues:
        values = flags.FlagValues()
        define = {
            bool: flags.DEFINE_boolean,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            str: flags.DEFINE_string,
        }
        for name, declared in self.known.items():
            if declared.words:
                _define_with_words(declared, values)
            elif name in MERGED:
                flags.DEFINE_multi_string(name, None, declared.help, flag_values=values)
            else:
                define[declared.kind](name, None, declared.help, flag_values=values)
            if declared.bare:
                values[name].boolean = True
            for alias in declared.aliases:
                flags.DEFINE_alias(alias, name, flag_values=values)
        return values

    def _parse(self, tokens: Sequence[str], source: str, *, is_deferred: bool = False) -> dict[str, Given]:
        """Returns the options in `tokens`, each with `source`.

        Args:
          is_deferred: whether an invalid value is an error only if nothing overrides it.
        """
        for name in self._flags:
            self._flags[name].unparse()
        if refused := [word for word in map(_name_of, tokens) if word in _REFUSED_FLAGS]:
            raise OptionsError(self._unknown(refused[0], source))
        try:
            rest = self._flags(["main.py", *tokens])[1:]
        except flags.UnrecognizedFlagError as error:
            raise OptionsError(self._unknown(error.flagname, source)) from None
        except flags.IllegalFlagValueError as error:
            name, message = self._wrong_type(str(error), source)
            if is_deferred and name:
                return {name: Given(None, source, fault=OptionsError(message, option=name))}
            raise OptionsError(message, option=name) from None
        except (flags.Error, ValueError) as error:  # absl raises ValueError for --noflag=value.
            raise OptionsError(f"Options must read --flag=value. Received, from {source}: {error}.") from None
        positional = self._positional(self._flags["mode"].value)
        if rest and (positional is None or any(word.startswith("-") for word in rest)):
            raise OptionsError(_no_option(rest[0], tokens[: -len(rest)], source))
        found = {name: self._flags[name].value for name in self.known if self._flags[name].present}
        if rest and positional is not None:
            found[positional] = ",".join(filter(None, (found.get(positional), *rest)))
        return {
            name: _merging(value, source) if name in MERGED else Given(value, source) for name, value in found.items()
        }

    def _positional(self, mode: str | None) -> str | None:
        """Returns the option of a mode that takes words without a flag."""
        declared = declarations(self.classes[mode]) if mode is not None and mode in self.classes else {}
        return next((name for name, each in declared.items() if each.positional), None)

    def _unknown(self, name: str, source: str) -> str:
        advice = suggest_option(name, [*self.known, *self.alias_of], self.classes)
        return f"Unknown option --{name}, from {source}; {advice}"

    def _wrong_type(self, message: str, source: str) -> tuple[str | None, str]:
        """Returns the option, and the error message for its value."""
        flag, _, value = message.removeprefix("flag --").partition(": ")[0].partition("=")
        declared = self.known.get(flag)
        if declared is None:
            return None, f"Options must read --flag=value. Received, from {source}: {message}."
        expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[declared.kind]
        expected += "".join(f" or {word}" for word, _ in declared.words)
        example = "true" if declared.kind is bool else declared.default
        advice = f"try --{flag}={example}." if example not in {None, ""} else f"see `--help` for --{flag}."
        if source.startswith(_ENVIRONMENT):
            example = str(declared.default).lower() if declared.default not in {None, ""} else "VALUE"
            advice = f"unset the variable, or override it by --{flag}={example}."
        return flag, f"{flag} must be {expected}. Received {value!r} from {source}; {advice}"

    def _read_environment(self, environ: Mapping[str, str], names: Iterable[str]) -> dict[str, Given]:
        wanted = dict.fromkeys(names)
        spelled = [*(alias for alias, name in self.alias_of.items() if name in wanted), *wanted]
        found: dict[str, Given] = {}
        for name in spelled:
            value = environ.get(name, "").strip()
            if value:
                found |= self._parse([f"--{name}={value}"], f"{_ENVIRONMENT} {name}", is_deferred=True)
        return found

    def _parse_offers(self, offers: Mapping[str, Offer]) -> dict[str, Given]:
        found: dict[str, Given] = {}
        for name, offer in offers.items():
            found |= self._parse([f"--{name}={offer.value}"], offer.source)
        return found

    def _read_file(self, path: str, outer: tuple[str, ...] = ()) -> dict[str, Given]:
        """Returns the options in an option file and in those that it includes by --flagfile or --config.

        Args:
          path: of the file.
          outer: the files that include it, the outermost first.
        """
        path = expand_home(path)
        found: dict[str, Given] = {}
        in_demo = False
        for number, line in enumerate(read_lines(path, outer), start=1):
            if line.strip().lower() in {DEMO_BEGIN, DEMO_END}:
                in_demo = line.strip().lower() == DEMO_BEGIN
            token = normalize_token(strip_comment(line))
            if not token:
                continue
            source = f"{path}, line {number}"
            if not token.startswith("-"):
                raise OptionsError(
                    f"A line of an option file must read --flag=value. Received {token!r} ({source}); "
                    "put two dashes before it, or # to make it a comment."
                )
            flag, _, value = token.partition("=")
            if flag in _FILE_FLAGS:
                if not value:
                    raise OptionsError(f"{flag} must be followed by the path of an option file ({source}).")
                given = self._read_file(value, (*outer, path))
            else:
                given = self._parse([token], source, is_deferred=True)
            if in_demo:
                given = {name: replace(each, is_demo=True) for name, each in given.items()}
            found = _over(found, given)
        return found


def _over(lower: Mapping[str, Given], upper: Mapping[str, Given]) -> dict[str, Given]:
    """Returns the options of two sources; `upper` takes precedence, or is merged after `lower`."""
    merged = {
        name: replace(upper[name], earlier=(*lower[name].all, *upper[name].earlier))
        for name in MERGED
        if name in lower and name in upper
    }
    return {**lower, **upper, **merged}


def _merging(values: Sequence[str], source: str) -> Given:
    """Returns the values of an option that may be repeated; the last takes precedence."""
    *earlier, last = (Given(value, source) for value in values)
    return replace(last, earlier=tuple(earlier))


def _name_of(token: str) -> str:
    return token.lstrip("-").partition("=")[0] if token.startswith("-") else ""


def _define_with_words(declared: Declaration, values: flags.FlagValues) -> None:
    """Defines a flag for an integer with named values."""
    words = dict(declared.words)

    class NumberOrWord(flags.IntegerParser):
        def convert(self, argument: str | float) -> int:
            if argument in words:
                return words[argument]
            number = super().convert(argument)
            if number in words.values():
                raise ValueError(f"{number} is reserved for a named value")
            return number

    flags.DEFINE(NumberOrWord(), declared.name, None, declared.help, flag_values=values)


def _join_config(argv: Sequence[str]) -> Iterator[str]:
    """Yields the tokens, with `--config FILE` (and absl's `--flagfile`) replaced by `@FILE`."""
    tokens = iter(argv)
    for token in tokens:
        name, equals, value = token.partition("=")
        if name not in _FILE_FLAGS:
            yield token
            continue
        path = value if equals else next(tokens, "")
        if not path:
            raise OptionsError(f"{name} must be followed by the path of an option file, for example params.config.")
        yield "@" + path


def _no_option(word: str, before: Sequence[str], source: str) -> str:
    """Returns the error message for a word that is not an option."""
    flag = before[-1] if before else ""
    if flag.startswith("-") and "=" not in flag:  # A switch; any other option would have consumed the word.
        advice = f"{flag}={word} if it is the value of {flag}"
    elif "=" in word:
        advice = "--" + word.lstrip("-–—")
    else:
        advice = f"@{word} if it is an option file"
    return f"Options must read --flag=value. Received {word!r} from {source}; try {advice}."
