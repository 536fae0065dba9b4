"""Documentation: generated parts are the code's, links lead somewhere, commands are accepted."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.options.schema import declarations

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page.relative_to(ROOT).as_posix(): page for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]}
PROGRAMS = {"main.py": None, "freeze_model.py": "export"}
"""Scripts whose commands are parsed, each with its only mode."""


@pytest.fixture(scope="module")
def write_flags() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_flags", ROOT / "docs" / "write_flags.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)


def commands(text: str) -> list[list[str]]:
    """Returns the words of all commands of a page that run a script of ours: those of its blocks and inline ones."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(
        r"`((?:\w+=\S+ )*python3 [\w./]+\.py [^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    )
    words = [shlex.split(line, comments=True) for line in lines if re.search(r"\bpython3? ", line)]
    return [found for found in words if len(program_of(found)) == 1 and "docker" not in found]


def program_of(words: list[str]) -> list[str]:
    return [word for word in words if word in PROGRAMS]


def is_made(word: str) -> bool:
    return word.startswith("@") and not (ROOT / word[1:]).is_file()


def test_commands_reads_blocks_comments_continued_lines_and_inline_code() -> None:
    text = "`python3 main.py --mode=eval`\n```sh\na=1 python3 main.py --x \\\n  --y='b c'  # why\nls\n```\n"
    assert commands(text) == [["a=1", "python3", "main.py", "--x", "--y=b c"], ["python3", "main.py", "--mode=eval"]]


def test_generated_parts_are_those_of_the_code(write_flags: ModuleType) -> None:
    assert [path.name for path in write_flags.outdated()] == [], "run `python docs/write_flags.py`"


def test_write_flags_covers_every_flag_of_every_mode(write_flags: ModuleType) -> None:
    parts = write_flags.generated_parts()
    shown_for: dict[str, str] = {}
    for name, mode in MODES.items():
        page = parts[Path(f"docs/modes/{name}.md")]["flags"]
        if link := re.search(r"\]\((\w+)\.md#flags\)", page):
            assert MODES[link[1]].options_class() is mode.options_class()
            page = shown_for[link[1]]
        shown_for[name] = page
        assert set(re.findall(r"^\| `--(\w+)`", page, re.MULTILINE)) == set(declarations(mode.options_class()))


def test_write_flags_refuses_a_page_without_a_place(write_flags: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"one part 'flags' between its begin and end\. Received 0"):
        write_flags.renewed("# Page\n", {"flags": "x"}, "page.md")


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    page = PAGES[name]
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if commands(page.read_text(encoding="utf-8"))])
def test_commands_of_a_page_are_accepted(name: str, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for words in commands(PAGES[name].read_text(encoding="utf-8")):
        [program] = program_of(words)
        place = words.index(program)
        environment = dict(word.split("=", 1) for word in words[: place - 1])
        only = PROGRAMS[program]
        # A search for options writes this file.
        given = ["@params.config" if word == "@tuning/best.config" else word for word in words[place + 1 :]]
        arguments = [*given, *([f"--mode={only}"] if only else [])]
        if (not arguments and not environment) or {"--help", "--helpfull", "--version"} & set(arguments):
            continue
        sources = reader.read(arguments, environment)
        assert sources.without_effect == {}, shlex.join(words)
        options = reader.build(sources, MODES[sources.mode].options_class())
        assert options.general.mode in MODES, shlex.join(words)


@pytest.mark.parametrize("name", ["README.md", "docs/cloud.md"])
def test_commands_of_containers_are_accepted(name: str, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    lines = PAGES[name].read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    runs = [shlex.split(line) for line in lines if line.startswith("docker run") and ":serve" not in line]
    assert runs
    for words in runs:
        [place] = [index for index, word in enumerate(words) if re.fullmatch(r"efficientdet(:\w+)?", word)]
        environment = dict(words[index + 1].split("=", 1) for index, word in enumerate(words) if word == "-e")
        arguments = ["--config=params.config" if word == "@mine.config" else word for word in words[place + 1 :]]
        sources = reader.read(arguments, environment)
        reader.build(sources, MODES[sources.mode].options_class())


@pytest.mark.parametrize("mode", MODES)
def test_page_of_a_mode_has_an_example_of_it(mode: str, reader: Reader) -> None:
    modes = []
    for words in commands((ROOT / "docs" / "modes" / f"{mode}.md").read_text(encoding="utf-8")):
        given = re.findall(r"--mode=(\w+)", " ".join(words))
        modes += given or (["export"] if "freeze_model.py" in words else [DEFAULT_MODE])
    assert mode in modes


def test_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 150
    assert len(commands(README)) >= 6


def test_readme_python_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_jobs_of_cloud_services_have_options_that_are_accepted(reader: Reader) -> None:
    """The arguments and hyperparameters in YAML and JSON blocks; an evaluated job needs no other file."""
    text = (ROOT / "docs" / "vertex.md").read_text(encoding="utf-8")
    jobs = [yaml.safe_load(block) for block in re.findall(r"```(?:yaml|json)\n(.*?)```", text, re.DOTALL)]
    given: list[list[str]] = []

    def visit(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node if isinstance(node, list) else []):
            if key == "args":
                given.append(value)
            elif key == "HyperParameters":
                given.append(
                    [f"--{name}={text}" for name, text in value.items()] + ["--url_dataset=/opt/ml/input/data"]
                )
            else:
                visit(value)

    visit(jobs)
    assert len(given) == 4
    for arguments in given:
        sources = reader.read(arguments, {})
        assert sources.without_effect == {}
        reader.build(sources, MODES[sources.mode].options_class())
