"""Segmentation metrics equal counts pixel by pixel."""

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.segmentation_metrics import (
    SegmentationEvaluator,
    boundary_scores,
    confusion_matrix,
)


def reference(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> dict[str, list[float]]:
    """Counts with Python's loops."""
    rows = [(int(t), int(p)) for truth, found in pairs for t, p in zip(truth.ravel(), found.ravel(), strict=True)]
    rows = [(t, p) for t, p in rows if t != 255]
    found: dict[str, list[float]] = {"iou": [], "dice": [], "accuracy": []}
    for c in range(classes):
        both = sum(t == c and p == c for t, p in rows)
        either = sum(c in (t, p) for t, p in rows)
        true, predicted = sum(t == c for t, _ in rows), sum(p == c for _, p in rows)
        found["iou"].append(both / either if either else np.nan)
        found["dice"].append(2 * both / (true + predicted) if true + predicted else np.nan)
        found["accuracy"].append(both / true if true else np.nan)
    return found


def boundary_reference(truth: np.ndarray, found: np.ndarray, classes: int, tolerance: float) -> np.ndarray:
    height, width = truth.shape
    radius = tolerance * (height**2 + width**2) ** 0.5

    def boundary(values: np.ndarray, c: int) -> list[tuple[int, int]]:
        pixels = []
        for y in range(height):
            for x in range(width):
                near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                near = [(i, j) for i, j in near if 0 <= i < height and 0 <= j < width and truth[i, j] != 255]
                if truth[y, x] != 255 and values[y, x] == c and any(values[i, j] != c for i, j in near):
                    pixels.append((y, x))
        return pixels

    def beside_ignored(c: int) -> int:
        padded = np.pad(truth, 1, constant_values=-1)
        return sum(255 in (padded[y, x + 1], padded[y + 2, x + 1], padded[y + 1, x], padded[y + 1, x + 2])
                   for y, x in np.argwhere(truth == c))  # fmt: skip

    def matched(ones: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        hits = [any((y - i) ** 2 + (x - j) ** 2 <= radius**2 for i, j in others) for y, x in ones]
        return float(np.mean(hits)) if hits and others else 0.0

    scores = []
    for c in range(classes):
        ours, theirs = boundary(found, c), boundary(truth, c)
        precision, recall = matched(ours, theirs), matched(theirs, ours)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        is_known = beside_ignored(c) <= len(theirs)
        scores.append(f1 if is_known and (ours or theirs) else np.nan)
    return np.array(scores)


def test_evaluator_equals_counting_on_random_images() -> None:
    generator = np.random.default_rng(0)
    for case in range(8):
        classes = int(generator.integers(1, 6))
        evaluator = SegmentationEvaluator(classes + 1, boundary_tolerance=0.08)
        pairs = []
        for _ in range(3):
            size = tuple(generator.integers(1, 12, 2))
            truth = generator.integers(0, classes, size)  # The last class never occurs.
            found = np.where(generator.random(size) < 0.6, truth, generator.integers(0, classes, size))
            truth[generator.random(size) < 0.2 * (case % 3)] = 255
            pairs.append((truth, found))
            evaluator.add(truth, found)
        metrics, expected = evaluator.metrics(), reference(pairs, classes + 1)
        for name, column in expected.items():
            np.testing.assert_allclose(getattr(metrics, name), column, err_msg=name)
        assert metrics.mean_iou == pytest.approx(np.nanmean(expected["iou"]), nan_ok=True)
        right = [(found == truth)[truth != 255] for truth, found in pairs]
        assert metrics.pixel_accuracy == pytest.approx(np.concatenate(right).mean(), nan_ok=True)
        each = np.array([boundary_reference(truth, found, classes + 1, 0.08) for truth, found in pairs])
        for c in range(classes + 1):
            column = each[:, c][~np.isnan(each[:, c])]
            assert metrics.boundary_f1[c] == pytest.approx(column.mean() if column.size else np.nan, nan_ok=True)


def test_boundary_scores_of_shifted_squares() -> None:
    truth = np.zeros((40, 40), int)
    truth[10:20, 10:20] = 1
    shifted = np.roll(truth, 2, axis=1)
    assert boundary_scores(truth, truth, 2)[1] == 1.0
    wide, narrow = (boundary_scores(truth, shifted, 2, tolerance=pixels / np.hypot(40, 40)) for pixels in (2, 1))
    assert wide[1] == 1.0
    assert narrow[1] < 0.7
    assert np.isnan(boundary_scores(truth, truth, 3)[2])
    assert boundary_scores(truth, np.zeros_like(truth), 2)[1] == 0.0


def test_boundary_scores_are_undefined_where_borders_are_ignored() -> None:
    truth = np.zeros((40, 40), int)
    truth[8:22, 8:22], truth[10:20, 10:20] = 255, 1
    assert np.isnan(boundary_scores(truth, np.where(truth == 255, 0, truth), 2)).all()
    assert np.isnan(boundary_scores(truth, np.zeros_like(truth), 2)).all()
    # A corner that is ignored leaves the rest of the boundary known.
    truth[truth == 255] = 0
    truth[:12, :12] = 255
    assert boundary_scores(truth, truth, 2).tolist() == [1.0, 1.0]


def test_evaluator_of_a_square_beside_its_place_gives_numbers_found_by_hand() -> None:
    truth, found = np.zeros((10, 10), int), np.zeros((10, 10), int)
    truth[2:6, 2:6], found[2:6, 3:7] = 1, 1
    evaluator = SegmentationEvaluator(2)
    evaluator.add(truth, found)
    metrics = evaluator.metrics()
    # Of 16 pixels each, 12 are common; of the other 84 each, 80.
    np.testing.assert_allclose(metrics.iou, [80 / 88, 12 / 20])
    np.testing.assert_allclose(metrics.dice, [160 / 168, 24 / 32])
    assert metrics.pixel_accuracy == pytest.approx(0.92)
    # Of the 12 pixels of the rings, the three common ones of the upper and the lower side match without tolerance.
    assert boundary_scores(truth, found, 2, tolerance=0.0)[1] == pytest.approx(0.5)
    assert boundary_scores(truth, found, 2, tolerance=1 / np.hypot(10, 10))[1] == 1.0


def test_confusion_matrix_has_truth_in_rows() -> None:
    found = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_evaluator_returns_an_images_own_mean_iou_and_names_its_values() -> None:
    evaluator = SegmentationEvaluator(2, boundary_tolerance=0)
    truth, predicted = np.array([[0, 1], [1, 255]]), np.array([[0, 1], [0, 1]])
    assert evaluator.add(truth, predicted) == pytest.approx(0.5)
    assert evaluator.add(truth, np.minimum(truth, 1)) == 1.0
    values = evaluator.metrics().values({1: "nucleus"})
    assert list(values)[:2] == ["mIoU", "pixel_accuracy"]
    assert values["IoU/nucleus"] == pytest.approx(3 / 4)
    assert np.isnan(values["boundary_F1"])


def test_evaluator_without_pixels_has_no_number() -> None:
    evaluator = SegmentationEvaluator(2)
    assert np.isnan(evaluator.add(np.full((3, 3), 255), np.zeros((3, 3), int)))
    assert np.isnan(evaluator.metrics().mean_iou)
    assert np.isnan(evaluator.metrics().pixel_accuracy)


@pytest.mark.parametrize(
    ("truth", "predicted", "words"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), r"both be \(height, width\)"),
        (np.full((2, 2), 2), np.zeros((2, 2), int), "Class ids of truth must be from 0 to 1. Received 2 to 2"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "Class ids of predicted"),
    ],
)
def test_evaluator_refuses(truth: np.ndarray, predicted: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SegmentationEvaluator(2).add(truth, predicted)
