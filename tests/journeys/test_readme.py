"""The README says what the code does: its tables are the code's, its files are there, its commands are taken."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

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
    sources = reader.read(arguments, environment)
    options = reader.build(sources, MODES[sources.mode].options_class())
    assert options.general.mode in MODES


def test_there_are_commands_to_test() -> None:
    assert len(COMMANDS) >= 6


def test_its_python_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from efficientdet_pipeline import api
    from efficientdet_pipeline.demo_dataset import write_demo_dataset
    from tfrmod.archive import extract

    lines = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(lines) == 1
    monkeypatch.chdir(tmp_path)
    images = extract(write_demo_dataset(tmp_path / "images.zip", num_images=12, image_size=(72, 64)), tmp_path / "all")
    next(images.rglob("*.jpg")).rename("a.jpg")
    train = api.train
    tiny = {"image_size": 64, "num_epochs": 1, "batch_size": 4, "pretrained_ckpt": "none", "cache_dir": "cache"}
    network = {"fpn_cell_repeats": 1, "box_class_repeats": 1}
    monkeypatch.setattr(api, "train", lambda *args, **given: train(*args, **{**given, **tiny, "hparams": network}))
    names: dict[str, Any] = {}
    exec(compile(lines[0], "README.md", "exec"), names)
    assert names["run"].metrics["AP"] >= 0
    assert names["metrics"]["AP"] == pytest.approx(names["run"].metrics["AP"])
    assert names["exported"].frozen_graph.is_file()
    assert names["manifest"].splits["train"].num_images > 0
