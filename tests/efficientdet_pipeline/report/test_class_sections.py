"""Sections of segmentation and classification: numbers, classes, confusions and the worst images."""

import dataclasses

import numpy as np

from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation, WorstImage
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.report.class_sections import MAX_ABSENT, MAX_MATRIX, class_headline, class_sections
from efficientdet_pipeline.report.contents import ReportContents
from efficientdet_pipeline.report.page import report_page
from efficientdet_pipeline.report.run_page import with_evaluation


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
    assert "as numbers of images; the darker" in markup
    one = dataclasses.replace(evaluation("images"), confusion=np.array([[6, 1], [0, 8]]))
    assert "taken for tree: 1 image</li>" in "".join(each for _, _, each in class_sections(one))


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


def test_class_sections_leave_absent_classes_of_many_out() -> None:
    size = MAX_ABSENT + 1
    confusion = np.zeros((size, size), np.int64)
    confusion[3, 3] = confusion[3, 7] = 1
    many = dataclasses.replace(
        evaluation(), names=tuple(f"class{number}" for number in range(size)), confusion=confusion
    )
    sections = {name: markup for name, _, markup in class_sections(many)}
    assert "Neither occur nor were predicted, and are not listed: 9 classes." in sections["classes"]
    assert "Shown are the 2 of 11 classes that occur or were predicted." in sections["confusion"]
    for markup in (sections["classes"], sections["confusion"]):
        assert "class3<" in markup
        assert "class7<" in markup
        assert "class4<" not in markup


def test_with_evaluation_names_the_metric_of_exports() -> None:
    assert with_evaluation(ReportContents("t"), evaluation()).exports_metric == "mIoU"
