"""Who may import whom, how long a page and a function may be, and what must not stand in the repository."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOMES = {
    "efficientdet": ROOT / "third_party/automl/efficientdet",
    "efficientdet_pipeline": ROOT / "efficientdet_pipeline",
    "tfrmod": ROOT / "tfrmod",
}
MAY_IMPORT: dict[str, set[str]] = {
    "efficientdet": set(),
    "tfrmod": set(),
    "efficientdet_pipeline": {"efficientdet", "tfrmod"},
}
# Doors: five lines into the command line.
DOORS = {"tfrmod.create_tfrecords", "tfrmod.inspect_tfrecords"}
# Files, records, suppression and export speak TensorFlow; every other page of the detector runs on JAX too.
SPEAK_TENSORFLOW = (
    "efficientdet.preprocess",
    "efficientdet.nms",
    "efficientdet.postprocess",
    "efficientdet.serving",
    "efficientdet.checkpoint",
    "efficientdet.layers",  # the fused batch normalisation, where TensorFlow is there
    "efficientdet.cpu_kernels",  # quicker gradients, likewise
)
# Every room may use these pages of the pipeline.
SHARED = {"options", "errors", "machine_memory"}
# These introduce the rooms to each other.
INTRODUCE = {"commands", "cli", "__main__"}
MAX_PAGE = 400
MAX_COMMAND = 150
MAX_FUNCTION = 60
# A table reads better in one piece.
LONG_PAGES = {
    "efficientdet.automl.hparams": "the table of automl's 77 hyper-parameters and the reader of their notation"
}
FORBIDDEN_NAMES = {"utils", "misc", "helpers", "common", "base", "core", "lib", "tools"}


def module_name(home: str, page: Path) -> str:
    parts = page.relative_to(HOMES[home]).with_suffix("").parts
    return ".".join((home, *parts)).removesuffix(".__init__")


PAGES = {module_name(home, page): page for home, root in HOMES.items() for page in sorted(root.rglob("*.py"))}


def tree_of(module: str) -> ast.Module:
    return ast.parse(PAGES[module].read_text(encoding="utf-8"))


def imports_of(module: str) -> set[str]:
    """Returns every import of a page by its full name, those inside functions too."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import hides where it points; write the full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_pages_are_found() -> None:
    assert len(PAGES) > 80
    assert {"efficientdet.model", "tfrmod.tfrecord_io", "efficientdet_pipeline.cli"} <= PAGES.keys()


@pytest.mark.parametrize("module", PAGES)
def test_imports_point_one_way(module: str) -> None:
    if module in DOORS:
        return
    home = module.split(".", maxsplit=1)[0]
    strangers = HOMES.keys() - MAY_IMPORT[home] - {home}
    wrong = {name for name in imports_of(module) if name.split(".")[0] in strangers}
    assert not wrong, f"{module} imports {wrong}; {home} may import only {MAY_IMPORT[home] or 'itself'}"


@pytest.mark.parametrize("module", [name for name in PAGES if name.startswith("efficientdet.")])
def test_the_detector_speaks_keras(module: str) -> None:
    if not module.startswith(SPEAK_TENSORFLOW):
        assert not {name for name in imports_of(module) if name.split(".")[0] == "tensorflow"}


@pytest.mark.parametrize("module", [name for name in PAGES if name.startswith("tfrmod")])
def test_the_mill_needs_no_tensorflow(module: str) -> None:
    assert not {name for name in imports_of(module) if name.split(".")[0] in {"tensorflow", "keras"}}


@pytest.mark.parametrize("module", [name for name in PAGES if name.startswith("efficientdet_pipeline.")])
def test_rooms_meet_only_in_commands(module: str) -> None:
    room = module.split(".")[1]
    if room in INTRODUCE:
        return
    visited = {name.split(".")[1] for name in imports_of(module) if name.startswith("efficientdet_pipeline.")}
    assert visited <= {room, *SHARED}, f"{module} visits {visited - {room, *SHARED}}; let a command introduce them"


@pytest.mark.parametrize("module", PAGES)
def test_a_page_stays_a_page(module: str) -> None:
    lines = len(PAGES[module].read_text(encoding="utf-8").splitlines())
    limit = MAX_COMMAND if module.startswith("efficientdet_pipeline.commands.") else MAX_PAGE
    assert lines <= limit or module in LONG_PAGES, f"{module} has {lines} lines; split it by idea"
    assert PAGES[module].stem not in FORBIDDEN_NAMES, f"{module}: a page without a name has no idea yet"


@pytest.mark.parametrize("module", PAGES)
def test_a_function_fits_the_eye(module: str) -> None:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.body[0].lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
            assert lines <= MAX_FUNCTION, f"{module}.{node.name} has {lines} lines"


@pytest.mark.parametrize("module", PAGES)
def test_no_assert_guards_a_user(module: str) -> None:
    # Python -O removes them, and their messages are written for programmers.
    assert not [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.Assert)]


def test_the_repository_names_no_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this copy is no git checkout")
    pattern = re.compile(r"(?<![\w.])/(?:work|farm)/|://[a-z.]*(?:pypi|npmjs|debian)")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".config", ""} and path.is_file():
            found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{name} names a machine's path or a registry: {found.group()}"
