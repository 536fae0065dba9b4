"""Tests of label assignment against the papers, with batches, padding and ties."""

import numpy as np
import pytest
from efficientdet import boxes as box_math
from efficientdet.anchor_generator import AnchorGenerator
from efficientdet.label_assignment.assignment import (
    Objects,
    Predicted,
    Priors,
    assign_batch,
    best_claims,
    padded_objects,
)
from efficientdet.label_assignment.atss import AtssAssigner
from efficientdet.label_assignment.max_iou import MaxIouAssigner, match_similarity
from efficientdet.label_assignment.samplers import PseudoSampler, RandomSampler
from efficientdet.label_assignment.sim_ota import SimOtaAssigner
from efficientdet.label_assignment.task_aligned import TaskAlignedAssigner
from efficientdet.types import BACKGROUND, IGNORED, GroundTruth
from keras import ops

# The similarities of three objects with five priors.
SIMILARITY = np.float32([[1, 1, 1, 3, 1], [-1, 0, -2, -2, -1], [3, 0, -1, 2, 0]])


def grid_priors(size: int = 8, stride: int = 8, scale: float = 1.0) -> Priors:
    generator = AnchorGenerator(strides=(stride, 2 * stride), ratios=(1.0,), scales=(scale,), center_offset=0.5)
    levels = generator.grid_priors([(size, size), (size // 2, size // 2)])
    counts = tuple(map(len, levels))
    return Priors(np.concatenate(levels), np.repeat(np.float32([stride, 2 * stride]), counts), counts)


def objects_of(boxes: list, class_index: list | None = None) -> Objects:
    count = len(boxes)
    return Objects(np.float32(boxes), np.int32(class_index or [0] * count), np.ones(count, bool))


@pytest.mark.parametrize(
    ("force", "expected"), [(False, [2, -1, -1, 0, -1]), (True, [2, 1, -1, 0, -1])], ids=["thresholds", "forced"]
)
def test_match_similarity(force: bool, expected: list[int]) -> None:
    row = match_similarity(SIMILARITY, np.ones(3, bool), pos_thr=3, neg_thr=2, min_pos=-9, force=force)
    assert ops.convert_to_numpy(row).tolist() == expected


def test_match_similarity_ignores_padding_and_heeds_min_pos() -> None:
    row = match_similarity(SIMILARITY, np.array([True, True, False]), pos_thr=3, neg_thr=1, min_pos=1)
    assert ops.convert_to_numpy(row).tolist() == [IGNORED, IGNORED, IGNORED, 0, IGNORED]
    nothing = match_similarity(SIMILARITY, np.zeros(3, bool), pos_thr=3, neg_thr=1)
    assert ops.convert_to_numpy(nothing).tolist() == [BACKGROUND] * 5


def test_match_similarity_gives_a_prior_to_the_lower_row() -> None:
    twins = np.float32([[0.1, 0.3, 0.2], [0.0, 0.3, 0.0]])
    assert ops.convert_to_numpy(match_similarity(twins, np.ones(2, bool), pos_thr=0.5, neg_thr=0.4)).tolist() == [
        BACKGROUND, 0, BACKGROUND
    ]  # fmt: skip


def test_label_assignment_max_iou_of_a_batch_equals_image_by_image() -> None:
    priors = grid_priors()
    truth = GroundTruth(
        np.float32([[[0, 0, 8, 8], [16, 17, 33, 34]], [[-1, -1, -1, -1], [-1, -1, -1, -1]]]),
        np.int32([[1, 2], [0, -1]]),
    )
    row, quality = assign_batch(MaxIouAssigner(), priors, padded_objects(truth))
    row, quality = ops.convert_to_numpy(row), ops.convert_to_numpy(quality)
    assert row[0, 0] == 0
    assert quality[0, 0] == 1.0
    assert (row[1] == BACKGROUND).all()
    assert {0, 1} <= set(row[0].tolist())
    assert (quality[row < 0] == 0).all()


def test_label_assignment_max_iou_agrees_with_the_network_targets() -> None:
    from efficientdet.assigners import assign_targets

    random = np.random.RandomState(5)
    priors = grid_priors(scale=2.0)
    corners = random.uniform(0, 40, (1, 6, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 25, (1, 6, 2))], axis=-1).astype(np.float32)
    truth = GroundTruth(boxes, np.int32([[1, 2, 3, 4, 5, 6]]))
    row, _ = assign_batch(MaxIouAssigner(), priors, padded_objects(truth))
    targets = assign_targets(priors.boxes, truth, unmatched_threshold=0.4)
    np.testing.assert_array_equal(ops.convert_to_numpy(row), ops.convert_to_numpy(targets.class_index))


def test_best_claims_prefers_scores_and_then_lower_rows() -> None:
    prior = np.int32([[0, 1], [1, 2], [2, 0]])
    score = np.float32([[0.5, 0.2], [0.4, 0.3], [0.3, 0.9]])
    row, best = best_claims(prior, score, np.array([[True, True], [True, True], [True, False]]), 4)
    assert ops.convert_to_numpy(row).tolist() == [0, 1, 1, BACKGROUND]
    np.testing.assert_allclose(ops.convert_to_numpy(best), [0.5, 0.4, 0.3, 0.0])


def atss_reference(priors: Priors, boxes: np.ndarray, topk: int) -> np.ndarray:
    """The published algorithm, object by object."""
    overlap = ops.convert_to_numpy(box_math.pairwise_iou(boxes, priors.boxes))
    best = np.zeros(len(priors.boxes))
    row = np.full(len(priors.boxes), BACKGROUND)
    for index, box in enumerate(boxes):
        candidates, start = [], 0
        center = (box[:2] + box[2:]) / 2
        for count in priors.per_level:
            distance = ((priors.centers[start : start + count] - center) ** 2).sum(1)
            candidates += (np.argsort(distance, kind="stable")[:topk] + start).tolist()
            start += count
        threshold = overlap[index, candidates].mean() + overlap[index, candidates].std(ddof=1)
        for prior in candidates:
            is_inside = (priors.centers[prior] > box[:2]).all() and (priors.centers[prior] < box[2:]).all()
            if overlap[index, prior] >= threshold and is_inside and overlap[index, prior] > best[prior]:
                row[prior], best[prior] = index, overlap[index, prior]
    return row


def test_label_assignment_atss_equals_the_algorithm() -> None:
    random = np.random.RandomState(7)
    priors = grid_priors(scale=2.0)
    corners = random.uniform(0, 40, (5, 2))
    boxes = np.concatenate([corners, corners + random.uniform(8, 24, (5, 2))], axis=-1).astype(np.float32)
    row, quality = AtssAssigner(topk=5)(priors, objects_of(boxes))
    expected = atss_reference(priors, boxes, 5)
    np.testing.assert_array_equal(ops.convert_to_numpy(row), expected)
    assert (expected >= 0).sum() >= 5
    assert (ops.convert_to_numpy(quality)[expected >= 0] > 0).all()


def sim_ota_reference(priors: Priors, objects: Objects, said: Predicted) -> np.ndarray:
    """The published algorithm in numpy."""
    centers, strides = priors.centers, priors.strides
    overlap = ops.convert_to_numpy(box_math.pairwise_iou(objects.boxes, said.boxes))
    middle = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
    in_box = ((centers > objects.boxes[:, None, :2]) & (centers < objects.boxes[:, None, 2:])).all(-1)
    near = (np.abs(centers - middle[:, None]) < 2.5 * strides[:, None]).all(-1)
    foreground = (in_box | near).any(0)
    cost = np.full(overlap.shape, np.inf)
    for index in range(len(objects.boxes)):
        truth = np.eye(said.scores.shape[1])[objects.class_index[index]]
        entropy = -(truth * np.log(said.scores) + (1 - truth) * np.log(1 - said.scores)).sum(1)
        cost[index] = entropy - 3 * np.log(overlap[index] + 1e-8) + 1e5 * ~(in_box & near)[index]
    cost[:, ~foreground], overlap = np.inf, np.where(foreground, overlap, 0)
    claims = np.zeros(overlap.shape, bool)
    for index in range(len(objects.boxes)):
        count = max(1, int(np.sort(overlap[index])[-10:].sum()))
        claims[index, np.argsort(cost[index], kind="stable")[:count]] = True
    return np.where(claims.any(0), np.where(claims, cost, np.inf).argmin(0), BACKGROUND)


def test_label_assignment_sim_ota_equals_the_algorithm() -> None:
    random = np.random.RandomState(11)
    priors = grid_priors()
    corners = random.uniform(0, 30, (4, 2))
    boxes = np.concatenate([corners, corners + random.uniform(10, 30, (4, 2))], axis=-1).astype(np.float32)
    objects = objects_of(boxes, [0, 1, 2, 1])
    jitter = random.uniform(-6, 6, priors.boxes.shape)
    said = Predicted(
        random.uniform(0.05, 0.9, (len(priors.boxes), 3)).astype(np.float32),
        np.float32(priors.boxes + jitter + np.float32([-6, -6, 6, 6])),
    )
    row, quality = SimOtaAssigner()(priors, objects, said)
    expected = sim_ota_reference(priors, objects, said)
    np.testing.assert_array_equal(ops.convert_to_numpy(row), expected)
    assert set(range(4)) <= set(expected.tolist())
    assert (ops.convert_to_numpy(quality) <= 1).all()


def test_label_assignment_sim_ota_leaves_padding_alone() -> None:
    priors = grid_priors()
    truth = GroundTruth(np.float32([[[4, 4, 30, 30]], [[0, 0, 0, 0]]]), np.int32([[2], [0]]))
    scores = np.full((2, len(priors.boxes), 3), 0.1, np.float32)
    said = Predicted(scores, np.tile(priors.boxes, (2, 1, 1)))
    row, _ = assign_batch(SimOtaAssigner(), priors, padded_objects(truth), said)
    assert ops.convert_to_numpy(row)[0].max() == 0
    assert (ops.convert_to_numpy(row)[1] == BACKGROUND).all()


def test_label_assignment_task_aligned_takes_the_best_inside() -> None:
    priors = grid_priors()
    objects = objects_of([[0, 0, 16, 16], [30, 30, 62, 62]], [0, 1])
    scores = np.full((len(priors.boxes), 2), 0.5, np.float32)
    scores[0, 0] = 0.9
    boxes = priors.boxes.copy()
    boxes[0] = [0, 0, 16, 14]
    row, quality = TaskAlignedAssigner(topk=2)(priors, objects, Predicted(scores, boxes))
    row, quality = ops.convert_to_numpy(row), ops.convert_to_numpy(quality)
    assert row[0] == 0
    assert (row == 0).sum() == 2
    assert (row == 1).sum() == 2
    # The prior of the coarser level is the object itself: its quality is its overlap, the others' in proportion.
    assert quality[64] == pytest.approx(1.0, rel=1e-4)
    assert quality[0] == pytest.approx(0.9**0.5 * (14 / 16) ** 6 / 0.5**0.5, rel=1e-4)
    inside = (priors.centers > objects.boxes[:, None, :2]).all(-1) & (priors.centers < objects.boxes[:, None, 2:]).all(
        -1
    )
    assert all(inside[index, prior] for prior, index in enumerate(row) if index >= 0)


def test_random_sampler_draws_no_more_than_asked() -> None:
    row = np.full((2, 400), BACKGROUND, np.int32)
    row[0, :100], row[1, 5:8], row[1, 9] = 0, 1, IGNORED
    sampler = RandomSampler(num=64, pos_fraction=0.25)
    drawn = ops.convert_to_numpy(sampler(row, np.float32([1.5, 2.5])))
    assert [(drawn[image] >= 0).sum() for image in (0, 1)] == [16, 3]
    assert [(drawn[image] == BACKGROUND).sum() for image in (0, 1)] == [48, 61]
    assert (drawn[drawn != IGNORED] == row[drawn != IGNORED]).all()
    np.testing.assert_array_equal(drawn, ops.convert_to_numpy(sampler(row, np.float32([1.5, 2.5]))))
    assert (drawn != ops.convert_to_numpy(sampler(row, np.float32([3.5, 2.5])))).any()
    bounded = ops.convert_to_numpy(RandomSampler(num=64, neg_pos_ub=2.0)(row, np.float32([0.0, 1.0])))
    assert (bounded[1] == BACKGROUND).sum() == 6
    np.testing.assert_array_equal(PseudoSampler()(row, np.float32([0.0])), row)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaxIouAssigner(pos_iou_thr=0.3), "neg_iou_thr must be 0 to pos_iou_thr"),
        (lambda: MaxIouAssigner(iou_calculator="giou"), "iou_calculator must be IouSimilarity"),
        (lambda: AtssAssigner(topk=0), "topk must be 1 or more"),
        (lambda: SimOtaAssigner(center_radius=0.0), "center_radius above 0"),
        (lambda: TaskAlignedAssigner(topk=0), "topk must be 1 or more"),
        (lambda: RandomSampler(num=0), "num must be 1 or more"),
        (lambda: SimOtaAssigner()(grid_priors(), objects_of([[0, 0, 9, 9]]), None), "needs the head's predictions"),
    ],
)
def test_label_assignment_assigners_refuse(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
