"""Sections of segmentation and classification: numbers, classes, confusions and the worst images."""

import dataclasses

import numpy as np

from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation, WorstImage
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.report.class_sections import MAX_MATRIX, class_headline, class_sections
from efficientdet_pipeline.report.contents import ReportContents
from efficientdet_pipeline.report.page import report_page


def evaluation(unit: str = "pixels") -> ClassEvaluation:
    values = {"mIoU": 0.5, "pixel_accuracy": 0.8, "mean_accuracy": -1.0, "Dice": 0.6, "boundary_F1": 0.4}
    per_class = {"mIoU": {"<b>sky": 0.25, "tree": 0.75}, "Dice": {"<b>sky": 0.4, "tree": 0.8}}
    return ClassEvaluation(
        unit=unit,
        metrics=Metrics(values, "mIoU", per_class),
        names=("<b>sky", "tree"),
        confusion=np.array([[6, 2], [0, 8]]),
        num_images=2,
        worst=(WorstImage(name="x.png", note="mIoU 0.100", jpeg=b"\xff\xd8"),),
    )


def test_class_sections_show_numbers_classes_and_confusions() -> None:
    page = report_page(ReportContents("t", by_class=evaluation()))
    for expected in ("Mean IoU", "0.500", "&lt;b&gt;sky", "25.0%", "taken for tree: 2 pixels", "x.png: mIoU 0.100"):
        assert expected in page
    assert "<b>sky" not in page
    assert class_headline(evaluation()).count("<strong>") == 4


def test_class_sections_count_images_of_a_classification() -> None:
    markup = "".join(each for _, _, each in class_sections(evaluation("images")))
    assert "most certain" in markup
    assert ">2</td>" in markup


def test_class_sections_show_the_most_confused_of_many_classes() -> None:
    size = MAX_MATRIX + 5
    names = tuple(f"class{number}" for number in range(size))
    confusion = np.eye(size, dtype=np.int64)
    confusion[size - 1, 0] = 9
    many = dataclasses.replace(evaluation(), names=names, confusion=confusion)
    (markup,) = (each for name, _, each in class_sections(many) if name == "confusion")
    assert f"The {MAX_MATRIX} classes" not in markup
    assert f"class{size - 1}" in markup
    assert f"class{size - 2}<" not in markup
