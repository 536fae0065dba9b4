"""The README says what the code does: its tables are the code's, its files are there, its commands are taken."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.options.parser import Reader

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if "main.py" in line and "docker" not in line
]


@pytest.fixture
def write_flags() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_flags", ROOT / "docs" / "write_flags.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_tables_are_those_of_the_code(write_flags: ModuleType) -> None:
    assert write_flags.renewed(README) == README, "run `make docs`"


@pytest.mark.parametrize("place", re.findall(r"\]\(([^)#:]+)\)", README))
def test_what_it_points_to_is_there(place: str) -> None:
    assert (ROOT / place).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_taken(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    environment = dict(word.split("=", 1) for word in words[: words.index("python3")])
    arguments = words[words.index("main.py") + 1 :]
    reader = Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)
    options = reader.build(reader.read(arguments, environment))
    assert options.mode in MODES


def test_there_are_commands_to_test() -> None:
    assert len(COMMANDS) >= 6
