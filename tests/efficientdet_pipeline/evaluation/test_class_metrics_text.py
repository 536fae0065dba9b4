"""Metrics by class as text."""

from efficientdet_pipeline.evaluation.class_metrics_text import format_class_metrics


def test_format_class_metrics_leaves_undefined_classes_of_many_out() -> None:
    few = {"mIoU": -1.0, "per_class": {"cat": 0.5, "b": -1.0}, "per_class_boundary": {"cat": 1.0, "b": 0.25}}
    text = format_class_metrics(few, ["mIoU"], {"IoU": "per_class", "boundary": "per_class_boundary"})
    assert text.splitlines() == [
        "mIoU     -",
        "",
        "class    IoU  boundary",
        "cat    0.500     1.000",
        "b          -     0.250",
    ]
    many = {"mIoU": 0.0, "per_class": {str(number): 0.0 if number % 2 else -1.0 for number in range(21)}}
    lines = format_class_metrics(many, ["mIoU"], {"IoU": "per_class"}).splitlines()
    assert [line.split()[0] for line in lines[3:-1]] == [str(number) for number in range(1, 21, 2)]
    assert lines[-1] == "Not listed: 11 classes without a value."
