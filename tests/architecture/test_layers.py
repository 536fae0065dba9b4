"""Which package may import which, how long modules and functions may be, and what the repository must not contain."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "efficientdet": ROOT / "third_party/automl/efficientdet",
    "efficientdet_pipeline": ROOT / "efficientdet_pipeline",
    "tfrmod": ROOT / "tfrmod",
}
MAY_IMPORT: dict[str, set[str]] = {
    "efficientdet": set(),
    "tfrmod": set(),
    "efficientdet_pipeline": {"efficientdet", "tfrmod"},
}
# Imports point to the same subpackage or to a lower layer; modules of layer 0 may import each other.
LAYER = {
    "errors": 0,
    "addresses": 0,
    "console": 0,
    "backend": 0,
    "system": 0,
    "demo_dataset": 0,
    "json_fields": 0,
    "options": 1,
    "augment": 2,
    "runs": 2,
    "models": 3,
    "compression": 4,
    "data": 4,
    "inference": 4,
    "visualize": 5,
    "evaluation": 6,
    "export": 6,
    "tasks": 7,
    "training": 8,
    "benchmarking": 9,
    "doctor": 9,
    "inspection": 9,
    "serving": 9,
    "tuning": 9,
    "storage": 9,
    "report": 10,
    "commands": 11,
    "cli": 12,
    "notebook": 11,
    "api": 12,
    "api_services": 13,
    "class_predictors": 13,
    "__main__": 13,
}
# From an option to the step that uses it, every value has a type; tensors are `Tensor` or `TensorTree`.
TYPED = {"options", "augment", "runs", "models", "data", "tasks", "training", "commands", "cli", "api"}
# Scripts of a few lines that call the command line.
ENTRY_POINTS = {"tfrmod.create_tfrecords", "tfrmod.inspect_tfrecords"}
# Every other module of the networks also runs on JAX where TensorFlow is not installed.
IMPORT_TENSORFLOW = (
    "efficientdet.preprocess",
    "efficientdet.nms",
    "efficientdet.postprocess",
    "efficientdet.serving",
    "efficientdet.inference_form",
    "efficientdet.checkpoint",
    "efficientdet.layers",  # the fused batch normalization, where TensorFlow is the backend
    "efficientdet.cpu_kernels",  # faster gradients, likewise
)
# Only these modules may import the names that google/automl gave its variables.
KNOW_AUTOML_NAMES = ("efficientdet.automl", "efficientdet.checkpoint")
MAX_MODULE_LINES = 400
MAX_COMMAND_LINES = 105
MAX_FUNCTION_LINES = 60
# A table reads better in one piece.
LONG_MODULES = {
    "efficientdet.automl.hparams": "the table of automl's 77 hyper-parameters and the reader of their notation"
}
FORBIDDEN_NAMES = {"utils", "misc", "helpers", "common", "base", "core", "lib", "tools"}


def module_name(package: str, path: Path) -> str:
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join((package, *parts)).removesuffix(".__init__")


MODULES = {module_name(name, path): path for name, root in PACKAGES.items() for path in sorted(root.rglob("*.py"))}
PIPELINE = [name for name in MODULES if name.startswith("efficientdet_pipeline.")]


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports_of(module: str) -> set[str]:
    """Returns every import of a module by its full name, those inside functions too."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import hides where it points; write the full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_modules(module: str) -> set[str]:
    """Returns the modules of ours that a module imports."""
    names = imports_of(module)
    return {name for each in names for name in (each, each.rpartition(".")[0]) if name in MODULES} - {module}


def test_layers_know_every_module() -> None:
    assert {"efficientdet.model", "tfrmod.tfrecord_io", "efficientdet_pipeline.cli"} <= MODULES.keys()
    assert {name.split(".")[1] for name in PIPELINE} <= LAYER.keys()


@pytest.mark.parametrize("module", MODULES)
def test_packages_import_in_one_direction(module: str) -> None:
    if module in ENTRY_POINTS:
        return
    package = module.split(".", maxsplit=1)[0]
    forbidden = PACKAGES.keys() - MAY_IMPORT[package] - {package}
    wrong = {name for name in imports_of(module) if name.split(".")[0] in forbidden}
    assert not wrong, f"{module} imports {wrong}; {package} may import only {MAY_IMPORT[package] or 'itself'}"


@pytest.mark.parametrize("module", PIPELINE)
def test_layers_import_downwards(module: str) -> None:
    own = module.split(".")[1]
    imported = {name.split(".")[1] for name in imports_of(module) if name.startswith("efficientdet_pipeline.")}
    known = imported & LAYER.keys() - {own}
    wrong = {name for name in known if LAYER[name] > LAYER[own] or LAYER[name] == LAYER[own] > 0}
    assert not wrong, f"{module} (layer {LAYER[own]}) imports {wrong}; move what they share to a lower layer"


def test_modules_import_without_cycles() -> None:
    done: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> None:
        assert module not in path, f"a cycle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in done:
            return
        path.append(module)
        for name in sorted(imports_at_the_top(module)):
            visit(name)
        path.pop()
        done.add(module)

    for module in MODULES:
        visit(module)


def imports_at_the_top(module: str) -> set[str]:
    """Returns the modules of ours that importing a module imports; packages' own files apart."""
    found: set[str] = set()
    for node in tree_of(module).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else str(node.module))
    return {name for name in found if name in MODULES} - {module}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("efficientdet.")])
def test_networks_use_keras_alone(module: str) -> None:
    if not module.startswith(IMPORT_TENSORFLOW):
        assert not {name for name in imports_of(module) if name.split(".")[0] == "tensorflow"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("efficientdet.")])
def test_networks_do_not_know_automls_names(module: str) -> None:
    if not module.startswith(KNOW_AUTOML_NAMES):
        assert not {name for name in imports_of(module) if name.startswith("efficientdet.automl.variable_names")}


@pytest.mark.parametrize("module", MODULES)
def test_jax_is_imported_by_its_own_modules_alone(module: str) -> None:
    # It is an extra: everything else works without it.
    at_the_top: set[str] = set()
    for node in tree_of(module).body:
        if isinstance(node, ast.Import):
            at_the_top |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            at_the_top.add(str(node.module))
    if "jax" not in module.rpartition(".")[2]:
        assert not {name for name in at_the_top if name.split(".")[0] == "jax"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("tfrmod")])
def test_converter_needs_no_tensorflow(module: str) -> None:
    assert not {name for name in imports_of(module) if name.split(".")[0] in {"tensorflow", "keras"}}


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_short(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    limit = MAX_COMMAND_LINES if module.startswith("efficientdet_pipeline.commands.") else MAX_MODULE_LINES
    assert lines <= limit or module in LONG_MODULES, f"{module} has {lines} lines; split it by idea"
    assert MODULES[module].stem not in FORBIDDEN_NAMES, f"{module}: name the idea that the module is about"


@pytest.mark.parametrize("module", MODULES)
def test_functions_stay_short(module: str) -> None:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.body[0].lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
            assert lines <= MAX_FUNCTION_LINES, f"{module}.{node.name} has {lines} lines"


@pytest.mark.parametrize("module", [name for name in PIPELINE if name.split(".")[1] in TYPED])
def test_values_have_types(module: str) -> None:
    lines = [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.Name) and node.id == "Any"]
    assert not lines, f"{module} names Any in lines {lines}"


@pytest.mark.parametrize("module", MODULES)
def test_no_assert_checks_what_a_user_gives(module: str) -> None:
    # Python -O removes them, and their messages are written for programmers.
    assert not [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.Assert)]


def test_repository_names_no_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this copy is no git checkout")
    pattern = re.compile(r"(?<![\w.])/(?:work|farm)/|://[a-z.]*(?:pypi|npmjs|debian)")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".config", ""} and path.is_file():
            found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{name} names a machine's path or a registry: {found.group()}"


# Lines that are read by importing what a mode runs on; a budget keeps a mode from growing by what it does not need.
CLOSURE_BUDGETS = {
    "efficientdet_pipeline.commands.infer": 17_700,
    "efficientdet_pipeline.commands.export": 24_700,
    "efficientdet_pipeline.commands.evaluate": 31_300,
    "efficientdet_pipeline.training.trainer": 27_600,
}


def import_closure(module: str) -> set[str]:
    """Returns the modules of ours that importing a module imports, itself and the packages on the way included."""
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in MODULES and name not in found:
            found.add(name)
            todo += [*imports_at_the_top(name), name.rpartition(".")[0]]
    return found


@pytest.mark.parametrize("module", CLOSURE_BUDGETS)
def test_import_closures_stay_within_their_budgets(module: str) -> None:
    closure = import_closure(module)
    lines = sum(len(MODULES[name].read_text(encoding="utf-8").splitlines()) for name in closure)
    assert lines <= CLOSURE_BUDGETS[module], f"importing {module} reads {lines} lines in {len(closure)} modules"
    # Shards need no reader of annotations.
    assert not {name for name in closure if name == "tfrmod.convert" or name.startswith("tfrmod.sources")}
