"""A small evaluation with all error types, and a report of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.analysis import Analysis, analyse
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.report.contents import (
    Chart,
    Command,
    ExportRow,
    Finding,
    LabelErrorRow,
    ReportContents,
    Series,
)
from efficientdet_pipeline.report.gallery import gallery
from efficientdet_pipeline.report.page import write_report

EVIL = "<script>window.broken = 1</script>\"'&<b>"
NAMES = {1: "cat", 2: EVIL, 3: "eel"}
SIZE = (96, 128)


def drawn_analysis(num_images: int = 12, num_classes: int = 3, seed: int = 0) -> Analysis:
    random = np.random.default_rng(seed)
    truth, detected = [], []
    for number in range(num_images):
        count = int(random.integers(1, 5))
        corners = random.uniform(0, 50, (count, 2))
        boxes = np.concatenate([corners, corners + random.uniform(15, 45, (count, 2))], axis=1)
        class_ids = random.integers(1, num_classes + 1, count)
        truth.append(TruthImage(str(number), boxes, class_ids, random.random(count) < 0.05))
        kept = random.random(count) < 0.8
        near = boxes[kept] + random.normal(0, 2, (int(kept.sum()), 4))
        stray = np.array([[60.0, 80, 90, 120]])
        found_ids = np.append(np.where(random.random(count) < 0.8, class_ids, 1)[kept], 1)
        detected.append(
            ImageDetections(
                np.concatenate([near, stray]), random.uniform(0.1, 1, len(found_ids)), found_ids, source_id=str(number)
            )
        )
    names = {class_id: NAMES.get(class_id, f"class {class_id}") for class_id in range(1, num_classes + 1)}
    return analyse(flatten(truth, detected, names), names, num_draws=20)


def read_image(source_id: str) -> np.ndarray | None:
    random = np.random.default_rng(int(source_id))
    return random.integers(0, 255, (*SIZE, 3), np.uint8) if source_id != "3" else None


@pytest.fixture(scope="session")
def analysis() -> Analysis:
    return drawn_analysis()


@pytest.fixture(scope="session")
def make_analysis() -> Callable[..., Analysis]:
    """Returns a function of numbers of images and classes."""
    return drawn_analysis


@pytest.fixture(scope="session")
def contents(analysis: Analysis) -> ReportContents:
    return ReportContents(
        title=f"Run {EVIL}",
        subtitle="A test",
        facts=[("Network", "efficientdet-d0"), (EVIL, EVIL)],
        charts=[
            Chart(
                "Loss",
                "epoch",
                "loss",
                [Series("training", [1, 2, 3], [3.0, float("nan"), 1.0]), Series(EVIL, [1], [2.0])],
            )
        ],
        analysis=analysis,
        gallery=gallery(analysis, read_image, file_names={"0": f"{EVIL}.jpg"}),
        label_errors=[LabelErrorRow("found_without_truth", f"{EVIL}.jpg", EVIL, 0.9)],
        num_label_errors=7,
        findings=[Finding("error", EVIL, "2 images", "Correct them."), Finding("note", "3 negatives")],
        exports=[
            ExportRow("TFLite", "export/model.tflite", 4_000_000, "AP 0.1 below", False, 0.4, 12.34),
            ExportRow("SavedModel", EVIL, 9_000_000, ""),
        ],
        commands=[Command("Train again", f"python main.py --run_name='{EVIL}'")],
        warnings=[f"Odd: {EVIL}"],
        links={"thresholds.yaml": "thresholds.yaml"},
    )


@pytest.fixture(scope="session")
def page(contents: ReportContents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the page of the report."""
    return write_report(tmp_path_factory.mktemp("run") / "report", contents)
