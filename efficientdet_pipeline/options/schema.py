"""Declaration of options as dataclass fields.

An option is a field of a frozen dataclass: the field's name is the flag, its
annotation the type, the string under it the help text.
"""

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """One option, as `--help` and the parser use it."""

    name: str
    kind: type
    """str, int, float or bool."""
    optional: bool
    """Whether None (not given) is a value."""
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    words: tuple[tuple[str, Any], ...] = ()
    """Named values, such as auto for 0."""
    bare: bool = False
    """Whether it may be given without a value, which is then true, like a switch."""
    shapes: bool = False
    """Whether the option affects training, so that it is part of the run's id."""
    path: str = ""
    """How a leading `~` is expanded: `path`, `glob` or `globs`."""
    from_environment: bool = True
    """Whether an environment variable of the same name is read."""
    group: str = ""


def option(
    default: Any,
    *,
    choices: Sequence[str] = (),
    aliases: Sequence[str] = (),
    words: Mapping[str, Any] | None = None,
    bare: bool = False,
    shapes: bool = False,
    path: str = "",
    from_environment: bool = True,
) -> Any:
    """Declares an option with its default; see `Declaration` for the arguments."""
    spoken = tuple((words or {}).items())
    names = {"choices": tuple(choices), "aliases": tuple(aliases), "words": spoken}
    traits = {"bare": bare, "shapes": shapes, "path": path, "from_environment": from_environment}
    return dataclasses.field(default=default, metadata={**names, **traits})


@functools.cache
def declarations(options_class: type) -> dict[str, Declaration]:
    """Returns the options of a dataclass by name, its parents' first."""
    helps, groups = _field_docstrings(options_class)
    hints = typing.get_type_hints(options_class)
    found = {}
    for field in dataclasses.fields(options_class):
        kind, optional = _kind(hints[field.name])
        found[field.name] = Declaration(
            name=field.name,
            kind=kind,
            optional=optional,
            default=field.default,
            help=helps[field.name],
            group=groups[field.name],
            **field.metadata,
        )
    return found


def _kind(hint: Any) -> tuple[type, bool]:
    if isinstance(hint, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return members[0], True
    return hint, False


def _field_docstrings(options_class: type) -> tuple[dict[str, str], dict[str, str]]:
    """Returns {field: docstring} and {field: first line of its class's docstring}."""
    helps: dict[str, str] = {}
    groups: dict[str, str] = {}
    for owner in reversed(options_class.__mro__):
        if not dataclasses.is_dataclass(owner) or owner is object:
            continue
        body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0])
        title = (inspect.getdoc(owner) or "").splitlines()[0].rstrip(".")
        for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                helps[statement.target.id] = _docstring(following)
                groups[statement.target.id] = title
    return helps, groups


def _docstring(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""
