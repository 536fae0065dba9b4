"""Documentation: generated parts are the code's, links lead somewhere, commands are accepted."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
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
TINY = {"image_size": 64, "num_epochs": 1, "batch_size": 4, "pretrained_ckpt": "none"}
TINY_NETWORK = {"fpn_cell_repeats": 1, "box_class_repeats": 1}
OTHER_FLAGS = set(
    "help helpfull version config flag entry runtime region source trigger memory gen2 cpu data target "
    "project requeue signal no logdir gpus force weights conf imgsz build check time runmode clones work".split()
)
"""Of other programs, and those that every program has."""


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


def on_this_machine(word: str) -> str:
    """Returns an argument as options are checked: addresses of buckets are replaced by folders before."""
    return re.sub(r"=(?:gs|s3)://", "=/tmp/", word)


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
        arguments = [*map(on_this_machine, given), *([f"--mode={only}"] if only else [])]
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


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns what the README's Python lines define, run in a folder of images with a tiny network."""
    from efficientdet_pipeline import api
    from efficientdet_pipeline.demo_dataset import write_demo_dataset
    from tfrmod.archive import extract

    folder = tmp_path_factory.mktemp("docs")
    lines = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(lines) == 1
    names: dict[str, Any] = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        images = extract(write_demo_dataset(folder / "images.zip", num_images=12, image_size=(72, 64)), folder / "all")
        (folder / "images").mkdir()
        for number, image in enumerate(sorted(images.rglob("*.jpg"))[:3]):
            (folder / ("a.jpg" if number == 0 else f"images/{image.name}")).write_bytes(image.read_bytes())
        train = api.train
        tiny: dict[str, Any] = {**TINY, "hparams": TINY_NETWORK, "run_name": "first", "cache_dir": "cache"}
        patch.setattr(api, "train", lambda *args, **given: train(*args, **{**given, **tiny}))
        exec(compile(lines[0], "README.md", "exec"), names)
    return names


def test_readme_python_lines_run(tried: dict[str, Any]) -> None:
    assert tried["run"].metrics["AP"] >= 0
    assert tried["metrics"]["AP"] == pytest.approx(tried["run"].metrics["AP"])
    assert (tried["folder"] / tried["exported"].frozen_graph).is_file()
    assert tried["manifest"].splits["train"].num_images > 0


def marked_blocks(mark: str) -> list[Any]:
    """Returns the blocks with a mark on the line before them: (page, language, text)."""
    found = re.compile(rf"^<!-- test: {mark} -->\n```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    pages = sorted(PAGES.items())
    blocks = [(name, *block) for name, page in pages for block in found.findall(page.read_text(encoding="utf-8"))]
    return [pytest.param(*block, id=f"{block[0]}-{number}") for number, block in enumerate(blocks)]


def run_block(tried: dict[str, Any], language: str, text: str, patch: pytest.MonkeyPatch) -> None:
    """Runs a block in the folder of the README's lines, where the environment gives the options of its tiny run."""
    patch.chdir(tried["folder"])
    if language == "python":
        exec(compile(text, "docs", "exec"), {})
        return
    environ = {name: str(value) for name, value in {**TINY, "model_name": "efficientdet-lite0"}.items()}
    environ |= {"hparams": ",".join(f"{name}={value}" for name, value in TINY_NETWORK.items()), "cache_dir": "cache"}
    environ |= {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ |= {"PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    for words in commands(f"```{language}\n{text}```\n"):
        place = next(index for index, word in enumerate(words) if word in PROGRAMS)
        command = [sys.executable, str(ROOT / words[place]), *words[place + 1 :]]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode in {0, 3}, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(("name", "language", "text"), marked_blocks("run"))
def test_marked_blocks_run(
    name: str, language: str, text: str, tried: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_block(tried, language, text, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "language", "text"), marked_blocks("run slow"))
def test_slow_marked_blocks_run(
    name: str, language: str, text: str, tried: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_block(tried, language, text, monkeypatch)


def test_python_page_names_everything_public() -> None:
    import efficientdet_pipeline

    text = PAGES["docs/python.md"].read_text(encoding="utf-8")
    assert [name for name in efficientdet_pipeline.__all__ if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("name", PAGES)
def test_blocks_of_a_page_are_of_their_language(name: str) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", PAGES[name].read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert {language for language, _ in blocks} <= {"sh", "python", "yaml", "json"}
    for language, text in blocks:
        if language == "python":
            compile(text, name, "exec")
        elif language in {"yaml", "json"}:
            assert (yaml.safe_load if language == "yaml" else json.loads)(text)


@pytest.mark.parametrize("name", PAGES)
def test_flags_that_a_page_names_are_there(name: str, reader: Reader) -> None:
    text = PAGES[name].read_text(encoding="utf-8")
    # What belongs to other programs: lines of a shell, and the left column of tables of old and new commands.
    text = re.sub(
        r"^(?:docker|gcloud|.*python3 benchmarks/|  -).*$|`(?:docker|tensorboard|pip|benchmarks/[^\s`]+) [^`]*`",
        "",
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(
        r"^\| there \|.*?(?:\n\n|\Z)", lambda table: re.sub(r"(?m)^\|.*?\s\|", "", table[0]), text, flags=re.S | re.M
    )
    named = set(re.findall(r"(?<![\w-])--([a-z]\w*)(?![\w…*])", text)) - OTHER_FLAGS
    known = {*reader.known, *reader.alias_of}
    assert {flag for flag in named if flag not in known and flag.removeprefix("no") not in known} == set()


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if not (tmp_path / "site" / page).is_file()} == set()
    assert list((tmp_path / "site").rglob("*.py*")) == []


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
        sources = reader.read([on_this_machine(word) for word in arguments], {})
        assert sources.without_effect == {}
        reader.build(sources, MODES[sources.mode].options_class())
