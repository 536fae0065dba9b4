"""Messages mention only flags that exist."""

import ast
import re
from pathlib import Path

import pytest

from efficientdet_pipeline.commands import MODES
from efficientdet_pipeline.options.schema import declarations

ROOT = Path(__file__).resolve().parents[3]
# The command line's own, stand-ins for any flag, Beam's in an example, and curl's --data-binary.
OTHERS = {"help", "helpshort", "helpfull", "version", "config", "flagfile", "flag", "project", "region", "data"}
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z_0-9]*)(?!\{)")


def known_flags() -> set[str]:
    known = set(OTHERS)
    for mode in MODES.values():
        for name, declared in declarations(mode.options_class()).items():
            known |= {name, f"no{name}", *declared.aliases}
    return known


def flags_in(page: Path) -> set[str]:
    """Returns the flags in the texts of a module, except docstrings; a name continued by an f-string is not a flag."""
    tree = ast.parse(page.read_text(encoding="utf-8"))
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]
    # CSS properties also begin with two dashes: `--v:0.5`.
    texts = [re.sub(r"--[a-z]+:(?=$|\S)", "", text) for text in texts]
    return {flag for text in texts for flag in FLAG.findall(text) if not flag.endswith("_")}


@pytest.mark.parametrize("home", ["tfrmod", "efficientdet_pipeline"])
def test_messages_name_flags_that_there_are(home: str) -> None:
    known = known_flags()
    unknown = {
        f"{page.relative_to(ROOT)}: --{flag}" for page in (ROOT / home).rglob("*.py") for flag in flags_in(page) - known
    }
    assert not unknown


def test_messages_of_the_checkpoints_name_no_flags() -> None:
    """A library has no command line."""
    pages = (ROOT / "third_party/automl/efficientdet/checkpoint").glob("*.py")
    assert not {flag for page in pages for flag in flags_in(page)}
