"""Views of --tta, and recognition of exports."""

from pathlib import Path

import pytest

from efficientdet_pipeline.evaluation.evaluated_detector import find_views, is_export
from efficientdet_pipeline.evaluation.views import View


@pytest.mark.parametrize(
    ("tta", "expected"),
    [
        ("", [View()]),
        ("flip", [View(), View(is_mirrored=True)]),
        ("scale", [View(), View(scale=0.8)]),
        ("flip, 0.5", [View(), View(True), View(scale=0.5), View(True, 0.5)]),
        ("1.0", [View()]),
    ],
)
def test_find_views(tta: str, expected: list[View]) -> None:
    assert find_views(tta) == expected


def test_is_export_distinguishes_exports_from_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "export" / "saved_model").mkdir(parents=True)
    (tmp_path / "export" / "saved_model" / "saved_model.pb").touch()
    assert is_export(tmp_path / "export")
    assert is_export(tmp_path / "export" / "saved_model")
    assert is_export(Path("a.tflite"))
    assert is_export(Path("a_frozen.pb"))
    assert not is_export(tmp_path)
    assert not is_export(Path("model.weights.h5"))
