"""Any predictor is evaluated like the checkpoint, on all images or a stratified subset."""

from collections.abc import Callable

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.evaluation.predictor_evaluation import evaluate_predictor, stratified_subset
from efficientdet_pipeline.evaluation.truth import TruthImage


class Oracle:
    """Detects the single bright rectangle, and its class by its brightness."""

    def detect(self, images: np.ndarray) -> Detections:
        ys, xs = np.nonzero(images[0, ..., 0])
        box = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
        class_id = images[0].max() // 100
        return Detections(
            np.array([[box]], np.float32), np.ones((1, 1)), np.array([[class_id]], np.float32), np.array([1])
        )


def sample(number: int, class_id: int) -> tuple[TruthImage, Callable[[], np.ndarray]]:
    image = np.zeros((50, 60, 3), np.uint8)
    image[5 : 20 + number, 10:40] = 100 * class_id
    truth = TruthImage(str(number), np.array([[5.0, 10.0, 20.0 + number, 40.0]]), np.array([class_id]))
    return truth, lambda: image


def test_evaluate_predictor_gives_coco_metrics() -> None:
    metrics = evaluate_predictor(Oracle(), [sample(0, 1), sample(1, 2)], {1: "cat", 2: "dog"})
    assert metrics["AP"] == pytest.approx(1.0)
    assert metrics["per_class"] == {"cat": pytest.approx(1.0), "dog": pytest.approx(1.0)}


def test_stratified_subset_holds_rare_classes_and_empty_images() -> None:
    rare, empty = 77, range(0, 100, 5)
    images = []
    for number in range(100):
        ids = [] if number in empty else [1] * 9 + ([2] if number == rare else [])
        images.append(TruthImage(str(number), np.zeros((len(ids), 4)), np.array(ids, int)))
    chosen = stratified_subset(images, 20)
    assert len(chosen) == 20
    assert rare in chosen
    assert len(set(chosen) & set(empty)) == 4
    assert chosen == stratified_subset(images, 20)
    assert stratified_subset(images, 200) == list(range(100))
