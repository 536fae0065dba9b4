"""The notebook's cells are Python, import what there is, were run as they stand, and run again (slow)."""

import ast
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 900


def cells_of(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def code_of(cell: dict[str, Any]) -> str:
    """Returns a cell's source, with `pass` where IPython's commands stand."""
    lines = "".join(cell["source"]).splitlines()
    return "\n".join(
        line[: len(line) - len(line.lstrip())] + "pass" if line.strip()[:1] == "%" else line for line in lines
    )


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_cells_parse_and_their_names_exist(path: Path) -> None:
    import efficientdet_pipeline as edp

    program = ast.parse("\n".join(map(code_of, cells_of(path))))
    imported: dict[str, Any] = {}
    for node in ast.walk(program):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("efficientdet", "tfrmod")):
            module = importlib.import_module(str(node.module))
            imported |= {alias.name: getattr(module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "edp":
            assert node.attr in edp.__all__, node.attr
    assert {"load_batches", "load_model", "decode_predictions", "show_batch_sample"} <= imported.keys()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_was_run_and_shows_pictures(path: Path) -> None:
    outputs = [output for cell in cells_of(path) for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert all(cell["execution_count"] for cell in cells_of(path))
    text = json.dumps(outputs)
    assert "/tmp/" not in text
    assert "/home/" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_installs_the_package_first(path: Path) -> None:
    # Colab brings nothing of ours.
    first = "".join(cells_of(path)[0]["source"])
    assert "%pip install" in first
    assert 'SOURCE = "efficientdet-pipeline"' in first


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_data_to_export(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "third_party" / "automl"), *sys.path]))
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=where).execute()
    assert (tmp_path / "exported" / "saved_model" / "saved_model.pb").is_file()
    assert json.loads((tmp_path / "runs" / "notebook" / "metrics.json").read_text())["AP"] > 0.2
