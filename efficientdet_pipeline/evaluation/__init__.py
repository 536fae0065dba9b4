"""Evaluation of detections: COCO and Pascal VOC metrics, analysis of errors, segmentation and classification metrics.

>>> metrics = coco_metrics(truth, detected, label_map)
>>> write_metrics(run_folder / "metrics.json", metrics, epoch=20)
>>> print(format_table(metrics))
"""

from efficientdet_pipeline.evaluation.coco import coco_metrics
from efficientdet_pipeline.evaluation.metrics import Metrics, detection_metrics
from efficientdet_pipeline.evaluation.report import format_line, format_table, write_metrics
from efficientdet_pipeline.evaluation.truth import TruthImage, detected_images, read_truth

__all__ = [
    "Metrics",
    "TruthImage",
    "coco_metrics",
    "detected_images",
    "detection_metrics",
    "format_line",
    "format_table",
    "read_truth",
    "write_metrics",
]
