import numpy as np
import pytest
from efficientdet import boxes as box_math
from efficientdet.nms import Suppression, suppress, suppress_per_class, suppression_from

HARD = Suppression(iou_threshold=0.5, score_threshold=float("-inf"), sigma=0.0, max_outputs=20)
SOFT = Suppression(iou_threshold=0.5, score_threshold=0.001, sigma=0.5, max_outputs=20)


def crowd(num_images: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns boxes, scores and class indices with many overlaps."""
    random = np.random.RandomState(seed)
    corner = random.uniform(0, 30, (num_images, count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(5, 25, (num_images, count, 2))], axis=-1)
    scores = random.uniform(0.01, 1, (num_images, count))
    return (
        boxes.astype(np.float32),
        scores.astype(np.float32),
        random.randint(0, 4, (num_images, count)).astype(np.int32),
    )


def suppress_slowly(
    boxes: np.ndarray, scores: np.ndarray, class_index: np.ndarray, settings: Suppression
) -> tuple[list[int], list[float]]:
    """Returns the kept rows of one image by a direct implementation of the documented rules."""
    overlap = np.asarray(box_math.pairwise_iou(boxes, boxes), np.float64)
    left, kept, kept_scores = scores.astype(np.float64), [], []
    while len(kept) < settings.max_outputs and left.max() > settings.score_threshold and left.max() > 0:
        best = int(left.argmax())
        kept.append(best)
        kept_scores.append(left[best])
        left[best] = 0
        is_same_class = class_index == class_index[best]
        if settings.sigma:
            factor = np.exp(-(overlap[best] ** 2) / settings.sigma)
        else:
            factor = overlap[best] <= settings.iou_threshold
        left = np.where(is_same_class, left * factor, left)
    return kept, kept_scores


@pytest.mark.parametrize("settings", [HARD, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("is_per_class", [True, False])
def test_suppression_follows_the_written_rules(settings: Suppression, is_per_class: bool) -> None:
    boxes, scores, class_index = crowd(3, 60)
    if is_per_class:
        kept = suppress_per_class(boxes, scores, class_index, 4, settings)
    else:
        kept = suppress(boxes, scores, settings)
        class_index = np.zeros_like(class_index)
    assert kept.index.shape == (3, settings.max_outputs)
    for image in range(3):
        rows, expected = suppress_slowly(boxes[image], scores[image], class_index[image], settings)
        assert int(kept.num_valid[image]) == len(rows)
        assert kept.index[image, : len(rows)].numpy().tolist() == rows
        np.testing.assert_allclose(kept.scores[image, : len(rows)], expected, rtol=1e-4)


def test_nms_weaker_boxes_of_another_class_stay() -> None:
    boxes = np.tile(np.float32([0, 0, 10, 10]), (1, 3, 1))
    scores = np.float32([[0.9, 0.8, 0.7]])
    kept = suppress_per_class(boxes, scores, np.int32([[0, 1, 0]]), 2, HARD)
    assert (int(kept.num_valid[0]), kept.index[0, :2].numpy().tolist()) == (2, [0, 1])
    assert int(suppress(boxes, scores, HARD).num_valid[0]) == 1


def test_nms_one_class_is_the_same_as_no_classes() -> None:
    boxes, scores, class_index = crowd(2, 40)
    first = suppress_per_class(boxes, scores, 0 * class_index, 1, SOFT)
    for one, none in zip(first, suppress(boxes, scores, SOFT), strict=True):
        np.testing.assert_array_equal(one, none)


def test_nms_images_in_which_nothing_is_good_enough_have_no_detections() -> None:
    boxes, scores, class_index = crowd(2, 5)
    for kept in (
        suppress(boxes, scores * 1e-4, SOFT),
        suppress_per_class(boxes, scores * 1e-4, class_index, 4, SOFT),
    ):
        assert kept.num_valid.numpy().tolist() == [0, 0]
        assert kept.index.shape == (2, 20)
        assert not kept.scores.numpy().any()


def test_nms_settings_are_automls_defaults() -> None:
    configs = {"method": "gaussian", "iou_thresh": None, "score_thresh": 0.0, "sigma": None, "max_output_size": 100}
    assert suppression_from(configs) == Suppression(
        iou_threshold=0.5, score_threshold=0.001, sigma=0.5, max_outputs=100
    )
    hard = suppression_from(configs | {"method": "hard", "max_output_size": 7})
    assert hard == Suppression(iou_threshold=0.5, score_threshold=float("-inf"), sigma=0.0, max_outputs=7)


def test_nms_settings_are_heeded() -> None:
    configs = {"iou_thresh": 0.7, "score_thresh": 0.2, "sigma": 0.3, "max_output_size": 5}
    hard, soft = (suppression_from(configs | {"method": method}) for method in ("hard", "gaussian"))
    assert hard == Suppression(iou_threshold=0.7, score_threshold=0.2, sigma=0.0, max_outputs=5)
    assert soft == Suppression(iou_threshold=0.5, score_threshold=0.2, sigma=0.3, max_outputs=5)


def test_nms_methods_of_the_numpy_version_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hard or gaussian. Received 'diou'"):
        suppression_from({"method": "diou", "max_output_size": 100})
