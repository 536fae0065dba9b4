import math

import numpy as np
import pytest
from efficientdet import boxes
from keras import ops

UNIT = [0.0, 0.0, 10.0, 10.0]
OVERLAPS = {"iou": boxes.iou, "giou": boxes.giou, "diou": boxes.diou, "ciou": boxes.ciou}


def to_numpy(tensor: object) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def random_boxes(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.RandomState(seed)
    corner = random.uniform(0, 80, (count, 2))
    return np.concatenate([corner, corner + random.uniform(1, 60, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("box", "area"),
    [(UNIT, 100.0), ([5.0, 5.0, 5.0, 9.0], 0.0), ([9.0, 9.0, 1.0, 1.0], 0.0), ([-2.0, 0.0, 1.0, 4.0], 12.0)],
)
def test_boxes_area(box: list[float], area: float) -> None:
    assert to_numpy(boxes.area(np.float32([box]))).tolist() == [area]


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        (UNIT, 1.0),
        ([0.0, 5.0, 10.0, 15.0], 1 / 3),
        ([10.0, 0.0, 20.0, 10.0], 0.0),
        ([0.0, 0.0, 0.0, 0.0], 0.0),
        ([2.0, 2.0, 4.0, 4.0], 0.04),
    ],
)
def test_boxes_iou(other: list[float], overlap: float) -> None:
    np.testing.assert_allclose(to_numpy(boxes.iou(np.float32([UNIT]), np.float32([other]))), [overlap], rtol=1e-6)


def test_boxes_without_area_overlap_nothing_not_even_themselves() -> None:
    point = np.float32([[3, 3, 3, 3]])
    for overlap in (boxes.iou, boxes.giou):
        assert to_numpy(overlap(point, point)).tolist() == [0.0]


def test_pairwise_iou_compares_every_box_with_every_anchor() -> None:
    first, second = random_boxes(6).reshape(2, 3, 4), random_boxes(5, seed=1)
    table = to_numpy(boxes.pairwise_iou(first, second))
    assert table.shape == (2, 3, 5)
    for image, row, anchor in np.ndindex(*table.shape):
        single = to_numpy(boxes.iou(first[image, row][None], second[anchor][None]))
        assert table[image, row, anchor] == single[0]


@pytest.mark.parametrize("kind", OVERLAPS)
def test_boxes_overlaps_are_one_for_the_same_box_and_symmetric(kind: str) -> None:
    first, second = random_boxes(20), random_boxes(20, seed=1)
    np.testing.assert_allclose(to_numpy(OVERLAPS[kind](first, first)), 1.0, rtol=1e-5)
    there, back = to_numpy(OVERLAPS[kind](first, second)), to_numpy(OVERLAPS[kind](second, first))
    np.testing.assert_allclose(there, back, rtol=1e-5, atol=1e-6)
    assert (there <= 1.0).all()


def test_boxes_giou_and_diou_see_how_far_apart_boxes_are() -> None:
    near, far = np.float32([[0, 12, 10, 22]]), np.float32([[0, 90, 10, 100]])
    for overlap in (boxes.giou, boxes.diou):
        assert to_numpy(overlap(np.float32([UNIT]), near)) > to_numpy(overlap(np.float32([UNIT]), far))


def test_boxes_published_examples_of_the_four_losses() -> None:
    predicted, target = np.float32([[4, 3, 7, 5], [5, 6, 10, 7]]), np.float32([[3, 4, 6, 8], [14, 14, 15, 15]])
    expected = {
        "iou": [0.875, 1.0],
        "ciou": [0.99931306, 1.6415315],
        "diou": [0.9969512, 1.6243094],
        "giou": [1.075, 1.933333],
    }
    for kind, values in expected.items():
        np.testing.assert_allclose(1 - to_numpy(OVERLAPS[kind](predicted, target)), values, rtol=1e-5)


def test_boxes_encoding_and_decoding_are_inverse() -> None:
    anchors, truth = random_boxes(50), random_boxes(100, seed=1).reshape(2, 50, 4)
    deltas = boxes.encode_boxes(truth, anchors)
    np.testing.assert_allclose(to_numpy(boxes.decode_boxes(deltas, anchors)), truth, rtol=1e-4, atol=1e-4)


def test_boxes_zero_deltas_decode_to_the_anchor() -> None:
    anchors = np.float32([[0, 0, 2, 4]])
    assert to_numpy(boxes.decode_boxes(np.zeros((1, 4), np.float32), anchors)).tolist() == anchors.tolist()


def test_boxes_decoding_moves_in_anchor_sizes_and_stretches_by_logarithms() -> None:
    deltas = np.float32([[0.5, -1.0, math.log(2), math.log(3)]])
    decoded = to_numpy(boxes.decode_boxes(deltas, np.float32([[0, 0, 2, 4]])))
    np.testing.assert_allclose(decoded, [[0.0, -8.0, 4.0, 4.0]], atol=1e-5)


@pytest.mark.parametrize("logit", [50.0, 1e4, 1e30])
def test_boxes_decoded_boxes_and_their_overlaps_stay_finite(logit: float) -> None:
    anchors = np.float32([[-300, -300, 1200, 1200]])
    decoded = boxes.decode_boxes(np.float32([[0, 0, logit, logit]]), anchors)
    for overlap in OVERLAPS.values():
        assert np.isfinite(to_numpy(overlap(decoded, anchors))).all()


def test_boxes_bound_on_stretching_leaves_sensible_sizes_alone() -> None:
    logs = np.linspace(-8, 8, 202, dtype=np.float32).reshape(-1, 2)
    deltas = np.concatenate([np.zeros_like(logs), logs], axis=-1)
    decoded = to_numpy(boxes.decode_boxes(deltas, np.float32([[-16, -16, 16, 16]] * len(deltas))))
    assert (decoded[:, 2:] == to_numpy(ops.exp(logs)) * np.float32(16)).all()


def test_boxes_without_size_encode_to_finite_numbers() -> None:
    deltas = boxes.encode_boxes(np.float32([[5, 5, 5, 5], [-1, -1, -1, -1]]), np.float32([[0, 0, 8, 8]] * 2))
    assert np.isfinite(to_numpy(deltas)).all()


def test_boxes_clipping_keeps_what_is_inside() -> None:
    wild = np.float32([[-5, -5, 5, 5], [90, 10, 200, 20], [200, 200, 300, 300]])
    clipped = to_numpy(boxes.clip_boxes(wild, 100.0, 50.0))
    assert clipped.tolist() == [[0, 0, 5, 5], [90, 10, 100, 20], [100, 50, 100, 50]]
