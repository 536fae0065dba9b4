"""A report with many images: its time and size."""

import time

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.analysis import analyse
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.report.contents import ReportContents
from efficientdet_pipeline.report.gallery import gallery
from efficientdet_pipeline.report.page import report_page


@pytest.mark.parametrize(
    ("num_images", "side", "seconds", "megabytes"),
    [(150, 300, 20, 15), pytest.param(5_000, 1_000, 30, 15, marks=pytest.mark.slow)],
)
def test_report_page_of_many_images_is_small_and_soon_there(
    num_images: int, side: int, seconds: float, megabytes: float
) -> None:
    random = np.random.default_rng(0)
    truth, detected = [], []
    for number in range(num_images):
        count = int(random.integers(1, 14))
        corners = random.uniform(0, 0.7 * side, (count, 2))
        boxes = np.concatenate([corners, corners + random.uniform(8, 0.3 * side, (count, 2))], axis=1)
        class_ids = random.integers(1, 81, count)
        # Like those of a detector: a hundred, most of them with low scores.
        others = random.uniform(0, 0.8 * side, (100 - count, 2))
        others = np.concatenate([others, others + random.uniform(8, 0.2 * side, (100 - count, 2))], axis=1)
        found = np.concatenate([boxes + random.normal(0, 3, boxes.shape), others])
        scores = np.concatenate([random.uniform(0.2, 1, count), random.uniform(0, 0.3, 100 - count)])
        truth.append(TruthImage(str(number), boxes, class_ids))
        found_ids = np.concatenate([class_ids, random.integers(1, 81, 100 - count)])
        detected.append(ImageDetections(found, scores, found_ids, source_id=str(number)))
    # Noise is the worst case for JPEG.
    pixels = random.integers(0, 255, (side, side, 3), np.uint8)
    names = {class_id: f"class {class_id}" for class_id in range(1, 81)}
    # CPU time, because other programs may run at the same time.
    began = time.process_time()
    analysis = analyse(flatten(truth, detected, names), names)
    images = gallery(analysis, lambda source_id: pixels)
    page = report_page(ReportContents("Large", analysis=analysis, gallery=images))
    assert time.process_time() - began < seconds
    assert len(page.encode()) < megabytes * 1e6
    assert len(images) >= 60
