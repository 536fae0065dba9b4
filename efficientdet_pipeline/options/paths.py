"""Expansion of `~` in options that name a path."""

import glob
import os
import re
from dataclasses import replace
from typing import Protocol, TypeVar

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Declaration, Value

KINDS = ("path", "glob", "globs")
"""Kinds of path options: a path (or a URL), a glob, comma-separated globs."""


class HasSource(Protocol):
    """A value given by the user, and its source: `parser.Given`."""

    @property
    def value(self) -> Value:
        """The value."""

    @property
    def source(self) -> str:
        """Source of the value."""


GivenT = TypeVar("GivenT", bound=HasSource)


def expanded(given: GivenT, declared: Declaration) -> GivenT:
    """Returns the value with `~` and `~user` replaced by the home folder if the option is a path.

    Raises:
      OptionsError: the user does not exist.
    """
    if not declared.path or not isinstance(given.value, str):
        return given
    try:
        return replace(given, value=expand_home(given.value, declared.path))  # type: ignore[type-var]
    except OptionsError as error:
        message = f"{declared.name} {error} ({declared.name} came from {given.source}.)"
        raise OptionsError(message, option=declared.name) from None


def expand_home(text: str, kind: str = "path") -> str:
    """Returns a text with a leading `~` replaced by the home folder; other text unchanged.

    Args:
      text: a path, a URL, or another word.
      kind: one of `KINDS`; globs are comma-separated.
    """
    if "~" not in text:
        return text
    if kind != "globs":
        return _expand(text, is_glob=kind == "glob")
    from tfrmod.patterns import split_patterns

    parts = split_patterns(text)
    # Unchanged if nothing is expanded, because spaces and commas may belong to a name.
    return ",".join(_expand(part, is_glob=True) for part in parts) if any(p[0] == "~" for p in parts) else text


def _expand(text: str, *, is_glob: bool) -> str:
    if not text.startswith("~"):
        return text
    user, rest = re.fullmatch(r"(~[^/\\]*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if os.sep == "/" and "\\" in text.partition("/")[0]:
        user, _, rest = text.partition("/")
        rest = _ + rest
    home = os.path.expanduser(user)
    if home == user:
        if rest and not os.path.lexists(user):
            raise OptionsError(
                f"starts with the home folder of an unknown user. Received {text!r}; write ./{text} for "
                "a folder of that name, or ~/ for your own home folder."
            )
        return text
    if is_glob and glob.has_magic(rest) and (glob.has_magic(home) or "," in home):
        from tfrmod.patterns import escape_path

        home = escape_path(home)
    return home.rstrip("/\\") + rest if rest else home
