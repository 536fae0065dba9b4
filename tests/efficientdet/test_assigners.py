import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from efficientdet import boxes
from efficientdet.anchors import anchor_boxes
from efficientdet.assigners import anchor_priors, assign_by_atss, assign_targets
from efficientdet.config import get_config
from efficientdet.types import BACKGROUND, IGNORED, GroundTruth, Targets

ANCHORS = anchor_boxes(get_config("efficientdet-d0", image_size=128))


def truth_of(*images: list[tuple[list[float], int]], num_rows: int) -> GroundTruth:
    """Returns a batch of (box, class id) lists, padded."""
    truth = GroundTruth(
        np.full((len(images), num_rows, 4), -1, np.float32), np.full((len(images), num_rows), -1, np.int32)
    )
    for image, objects in enumerate(images):
        for row, (box, class_id) in enumerate(objects):
            truth.boxes[image, row], truth.class_ids[image, row] = box, class_id
    return truth


@functools.cache
def traced_assign(**thresholds: float) -> Callable[..., Targets]:
    """Returns `assign_targets` compiled as in a training step, on either backend."""

    def with_thresholds(anchors: Any, boxes: Any, class_ids: Any) -> Targets:
        return assign_targets(anchors, GroundTruth(boxes, class_ids), **thresholds)

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(with_thresholds)
    import tensorflow as tf

    return tf.function(with_thresholds, autograph=False)


def assign(truth: GroundTruth, **thresholds: float) -> Targets:
    tensors = map(keras.ops.convert_to_tensor, (ANCHORS, *truth))
    return Targets(*map(keras.ops.convert_to_numpy, traced_assign(**thresholds)(*tensors)))


def assign_slowly(boxes_of_image: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """Returns class indices by a direct implementation of the documented rules."""
    overlap = keras.ops.convert_to_numpy(boxes.pairwise_iou(boxes_of_image, ANCHORS))
    row = overlap.argmax(axis=0)
    class_index = np.where(overlap.max(axis=0) >= 0.5, class_ids[row] - 1, BACKGROUND)
    for forced in reversed(range(len(boxes_of_image))):
        class_index[overlap[forced].argmax()] = class_ids[forced] - 1
    return class_index


@pytest.mark.parametrize("seed", range(4))
def test_assigners_crowded_images_follow_the_written_rules(seed: int) -> None:
    random = np.random.RandomState(seed)
    corner = random.uniform(0, 100, (2, 30, 2))
    crowd = np.concatenate([corner, corner + random.uniform(4, 60, (2, 30, 2))], axis=-1).astype(np.float32)
    class_ids = random.randint(1, 21, (2, 30)).astype(np.int32)
    targets = assign(GroundTruth(crowd, class_ids))
    for image in range(2):
        assert (targets.class_index[image] == assign_slowly(crowd[image], class_ids[image])).all()
    assert (targets.num_positives == (targets.class_index >= 0).sum(axis=-1)).all()


def test_targets_decode_to_the_matched_boxes() -> None:
    first, second = [20.0, 20.0, 60.0, 50.0], [70.0, 64.0, 120.0, 128.0]
    targets = assign(truth_of([(first, 3), (second, 5)], num_rows=2))
    decoded = keras.ops.convert_to_numpy(boxes.decode_boxes(targets.boxes[0], ANCHORS))
    for box, class_id in ((first, 3), (second, 5)):
        at = targets.class_index[0] == class_id - 1
        assert at.any()
        np.testing.assert_allclose(decoded[at], np.broadcast_to(box, decoded[at].shape), rtol=1e-4, atol=1e-3)
    assert not targets.boxes[0][targets.class_index[0] == BACKGROUND].any()


def test_assigners_types_and_shapes() -> None:
    targets = assign(truth_of([([0, 0, 30, 30], 1)], [], num_rows=3))
    assert targets.class_index.shape == (2, len(ANCHORS))
    assert targets.boxes.shape == (2, len(ANCHORS), 4)
    assert targets.num_positives.shape == (2,)
    assert [str(value.dtype) for value in targets] == ["int32", "float32", "float32"]


def test_assigners_images_of_a_batch_do_not_see_each_other() -> None:
    one, other = [([10, 10, 50, 50], 2)], [([60, 20, 90, 100], 4), ([0, 0, 20, 20], 1)]
    together = assign(truth_of(one, other, num_rows=2))
    for image, objects in enumerate((one, other)):
        alone = assign(truth_of(objects, num_rows=2))
        for both, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(both[image], single[0], atol=1e-6)


@pytest.mark.parametrize("num_rows", [0, 1, 100])
def test_assigners_empty_images_are_all_background(num_rows: int) -> None:
    targets = assign(truth_of([], [], num_rows=num_rows))
    assert (targets.class_index == BACKGROUND).all()
    assert not targets.boxes.any()
    assert targets.num_positives.tolist() == [0, 0]


def test_assigners_padding_may_stand_anywhere_and_hold_anything() -> None:
    plain = assign(truth_of([([10, 10, 50, 50], 2)], num_rows=1))
    truth = truth_of([([8, 8, 48, 48], 0), ([10, 10, 50, 50], 2), ([10, 10, 50, 50], -1)], num_rows=5)
    for expected, received in zip(plain, assign(truth), strict=True):
        assert (expected == received).all()


def test_assigners_object_off_the_canvas_gets_anchor_0() -> None:
    targets = assign(truth_of([([5000, 5000, 5010, 5010], 7)], num_rows=1))
    assert np.flatnonzero(targets.class_index[0] >= 0).tolist() == [0]
    assert targets.class_index[0, 0] == 6
    assert np.isfinite(targets.boxes).all()


def test_assigners_lower_row_wins_a_shared_best_anchor() -> None:
    anchor = ANCHORS[700].tolist()
    targets = assign(truth_of([(anchor, 1), (anchor, 2)], [(anchor, 2), (anchor, 1)], num_rows=2))
    assert targets.class_index[:, 700].tolist() == [0, 1]


def test_assigners_objects_best_anchor_is_its_own_even_where_another_overlaps_more() -> None:
    anchor = ANCHORS[2000]
    shifted = (anchor + np.float32([3, 0, 3, 0])).tolist()
    truth = truth_of([(anchor.tolist(), 1), (shifted, 2)], num_rows=2)
    targets = assign(truth)
    assert {0, 1} <= set(targets.class_index[0].tolist())


def test_assigners_anchors_between_the_thresholds_are_ignored() -> None:
    truth = truth_of([([20, 20, 60, 60], 1)], num_rows=1)
    plain, banded = assign(truth), assign(truth, unmatched_threshold=0.4)
    overlap = keras.ops.convert_to_numpy(boxes.pairwise_iou(truth.boxes[0], ANCHORS))[0]
    is_between = (overlap >= 0.4) & (overlap < 0.5)
    assert is_between.any()
    assert (banded.class_index[0][is_between] == IGNORED).all()
    assert (banded.class_index[0][~is_between] == plain.class_index[0][~is_between]).all()
    assert banded.num_positives == plain.num_positives


def test_assigners_one_pixel_and_degenerate_boxes_give_finite_targets() -> None:
    truth = truth_of([([64, 64, 65, 65], 1), ([30, 30, 30, 30], 2), ([0, 0, 128, 128], 3)], num_rows=3)
    assert np.isfinite(assign(truth).boxes).all()


def test_assign_by_atss_takes_nine_cells_of_each_level_and_a_threshold_of_the_object() -> None:
    config = get_config("efficientdet-d0", image_size=64)
    priors = anchor_priors(config)
    assert priors.per_level == (64 * 9, 16 * 9, 4 * 9, 9, 9)
    truth = truth_of([([4.0, 4.0, 36.0, 30.0], 2), ([34.0, 32.0, 60.0, 62.0], 3)], [], num_rows=3)
    targets = Targets(*map(keras.ops.convert_to_numpy, assign_by_atss(priors, truth, anchors_per_cell=9)))
    for number, (box, class_id) in enumerate(zip(truth.boxes[0, :2], truth.class_ids[0, :2], strict=True)):
        candidates, start = [], 0
        for count in priors.per_level:
            distance = ((priors.centers[start : start + count] - (box[:2] + box[2:]) / 2) ** 2).sum(axis=1)
            candidates += (np.argsort(distance, kind="stable")[:81] + start).tolist()
            start += count
        overlap = keras.ops.convert_to_numpy(boxes.pairwise_iou(truth.boxes[0, :2], priors.boxes))
        own = overlap[number]
        threshold = own[candidates].mean() + own[candidates].std(ddof=1)
        centers = priors.centers
        expected = [
            prior
            for prior in candidates
            if own[prior] >= threshold
            and (centers[prior] > box[:2]).all()
            and (centers[prior] < box[2:]).all()
            and own[prior] >= overlap[:, prior].max()
        ]
        assert expected
        assert (targets.class_index[0, expected] == class_id - 1).all()
        encoded = keras.ops.convert_to_numpy(
            boxes.encode_boxes(np.tile(box, (len(expected), 1)), priors.boxes[expected])
        )
        np.testing.assert_allclose(targets.boxes[0, expected], keras.ops.convert_to_numpy(encoded), atol=1e-5)
    assert targets.num_positives.tolist() == [(targets.class_index[0] >= 0).sum(), 0.0]
    assert set(targets.class_index[1]) == {BACKGROUND}
    assert not targets.boxes[targets.class_index < 0].any()


def test_assign_by_atss_leaves_an_object_between_all_centers_without_anchors() -> None:
    priors = anchor_priors(get_config("efficientdet-d0", image_size=64))
    targets = assign_by_atss(priors, truth_of([([5.0, 5.0, 7.0, 7.0], 1)], num_rows=1), anchors_per_cell=9)
    assert float(targets.num_positives[0]) == 0.0
