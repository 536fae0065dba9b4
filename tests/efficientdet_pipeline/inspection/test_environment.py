"""Environment: packages by extra, missing ones, and the command that installs them."""

from importlib import metadata

import pytest

from efficientdet_pipeline.inspection import environment
from efficientdet_pipeline.inspection.environment import environment_table, package_states

NUMPY = metadata.version("numpy")


def test_package_states_are_grouped_by_extra() -> None:
    found = package_states(["numpy>=1.0", 'absent-package>=2; extra == "onnx"', f'numpy<{NUMPY}; extra == "old"'])
    assert {extra: [(each.name, each.is_missing) for each in members] for extra, members in found.items()} == {
        "": [("numpy", False)],
        "onnx": [("absent-package", True)],
        "old": [("numpy", True)],
    }


def test_environment_table_names_what_is_missing_and_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=1.0", f"numpy>{NUMPY}", 'absent-package>=2; extra == "onnx"', 'numpy>=1; extra == "serve"']
    monkeypatch.setattr(environment, "program_requirements", lambda: wanted)
    text = environment_table()
    assert f"  numpy {NUMPY}\n" in text
    assert f"  numpy: {NUMPY} is installed; pip install 'numpy>{NUMPY}'" in text
    assert "  onnx       missing absent-package: pip install 'efficientdet-pipeline[onnx]'" in text
    assert f"  serve      installed (numpy {NUMPY})" in text
    assert "CPU:0" in text


def test_program_requirements_are_those_of_the_checkout_else_of_the_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_checkout = environment.program_requirements()
    assert 'uvicorn>=0.34; extra == "serve"' in of_checkout
    assert any(text.startswith("tensorflow>=") for text in of_checkout)
    monkeypatch.setattr(environment, "checkout_project", lambda: None)
    assert any(text.startswith("tensorflow") for text in environment.program_requirements())
