"""Comparison of several runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.analysis import Analysis, analyse
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.report.comparison import ComparedRun, comparison_page, disagreements, write_comparison
from efficientdet_pipeline.report.contents import Chart, Series

BOX = np.array([[0.0, 0, 20, 20]])


def side(hits: list[bool], names: dict[int, str] | None = None) -> Analysis:
    """Returns an evaluation with one cat in each image, found or not."""
    truth = [TruthImage(str(n), BOX, np.array([1])) for n in range(len(hits))]
    detected = [
        ImageDetections(BOX, np.array([0.9]), np.array([1]), source_id=str(n)) for n, hit in enumerate(hits) if hit
    ]
    return analyse(flatten(truth, detected, {}), names or {1: "cat"}, num_draws=20)


def pixels(source_id: str) -> np.ndarray | None:
    return np.full((50, 50, 3), 90, np.uint8) if source_id != "1" else None


def test_comparison_page_names_what_is_better_for_certain() -> None:
    weak, strong = side([True] * 5 + [False] * 25), side([True] * 28 + [False] * 2)
    charts = [Chart("Loss", "epoch", "loss", [Series("training", [1, 2], [2.0, 1.0])])]
    page = comparison_page(
        [
            ComparedRun("<a>", weak, {"lr": "0.1"}, charts),
            ComparedRun("b", strong, {"lr": "0.2", "seed": "3"}, charts),
            ComparedRun("c", weak, {}),
        ]
    )
    assert "<a>" not in page
    assert "&lt;a&gt;: training" in page
    assert "(better)" in page
    assert "(worse)" not in page
    assert "+0.000" in page
    assert "<strong>0.931</strong>" in page
    assert "Differences are relative to &lt;a&gt;." in page


def test_comparison_page_of_other_images_has_no_intervals() -> None:
    page = comparison_page([ComparedRun("a", side([True] * 3), {}), ComparedRun("b", side([True] * 4), {})])
    assert "b and a are evaluated on different images" in page
    with pytest.raises(ValueError, match=r"two runs or more\. Received 1"):
        comparison_page([ComparedRun("a", side([True]), {})])


def test_comparison_joins_classes_by_name(tmp_path: Path) -> None:
    one, other = side([True] * 4, {1: "cat"}), side([True] * 4, {1: "dog"})
    text = write_comparison(tmp_path / "c", [ComparedRun("a", one, {}), ComparedRun("b", other, {})]).read_text()
    assert '<th scope="row">cat</th><td class="number">1.000</td><td class="number">–</td>' in text
    assert '<th scope="row">dog</th><td class="number">–</td><td class="number">1.000</td>' in text


def test_disagreements_show_each_run_on_the_same_image(make_analysis: Callable[..., Analysis]) -> None:
    runs = [
        ComparedRun("a", side([True, True, False, True]), {}),
        ComparedRun("b", side([True, False, True, True]), {}),
        ComparedRun("c", make_analysis(), {}),
    ]
    images = disagreements(runs, pixels, file_names={"2": "two.jpg"})
    # Image 1 is unreadable, 0 and 3 are found by both, and the third run has other images.
    assert [image.name for image in images] == ["two.jpg · a", "two.jpg · b"]
    assert [[box.state for box in image.boxes] for image in images] == [["missed"], ["found", "right"]]
    assert "two.jpg · b" in comparison_page(runs[:2], gallery=images)
