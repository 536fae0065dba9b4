"""Training curves: results.png has a panel per kind of value."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from efficientdet_pipeline.tasks.detection import LAYOUT
from efficientdet_pipeline.training.loggers import draw_curves


def height_of(path: Path) -> int:
    with Image.open(path) as image:
        return image.height


def test_draw_curves_has_a_panel_per_kind_of_value(tmp_path: Path) -> None:
    losses = {"loss": [(1, 3.0), (2, 2.0)], "class_loss": [(1, 1.0), (2, 0.5)]}
    draw_curves(tmp_path / "one.png", losses, LAYOUT)
    more = {**losses, "box_loss": [(1, 0.1)], "AP": [(2, 0.3)], "AP50": [(2, 0.5)], "learning_rate": [(1, 0.01)]}
    draw_curves(tmp_path / "two.png", more, LAYOUT)
    assert height_of(tmp_path / "two.png") == 2 * height_of(tmp_path / "one.png")


def test_draw_curves_uses_one_range_of_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[float, float]] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: limits.extend(each.get_xlim() for each in self.axes))
    draw_curves(tmp_path / "a.png", {"loss": [(epoch, 1.0) for epoch in range(1, 11)], "AP": [(10, 0.2)]}, LAYOUT)
    assert limits[:2] == [(0.5, 10.5)] * 2


def test_draw_curves_leaves_out_values_that_could_not_be_measured(tmp_path: Path) -> None:
    draw_curves(tmp_path / "none.png", {"AP": [(1, -1.0)], "loss": []}, LAYOUT)
    assert not (tmp_path / "none.png").exists()
