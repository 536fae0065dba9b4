"""Classification metrics equal counting image by image."""

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.classification_metrics import classification_metrics


def test_classification_metrics_equal_counting() -> None:
    generator = np.random.default_rng(0)
    for classes in (2, 7, 12):
        truth = generator.integers(0, classes - 1, 40)  # The last class has no image.
        logits = generator.normal(size=(40, classes))
        logits[np.arange(40), truth] += 1
        found = classification_metrics(truth, logits)
        best = [int(np.argmax(row)) for row in logits]
        pairs = list(zip(truth.tolist(), best, strict=True))
        assert found.accuracy == pytest.approx(sum(t == p for t, p in pairs) / 40)
        ranked = [sorted(range(classes), key=lambda c: -row[c])[:5] for row in logits]
        assert found.top5 == pytest.approx(sum(t in five for t, five in zip(truth, ranked, strict=True)) / 40)
        for c in range(classes):
            assert found.confusion[c].tolist() == [pairs.count((c, other)) for other in range(classes)]
            true, predicted = [p for t, p in pairs if t == c], [t for t, p in pairs if p == c]
            assert found.recall[c] == pytest.approx(np.mean([p == c for p in true]) if true else np.nan, nan_ok=True)
            expected = np.mean([t == c for t in predicted]) if predicted else np.nan
            assert found.precision[c] == pytest.approx(expected, nan_ok=True)
        values = found.values({0: "cat"})
        assert list(values)[:3] == ["accuracy", "top5", "balanced_accuracy"]
        assert values["recall/cat"] == pytest.approx(found.recall[0])


def test_classification_metrics_without_images_have_no_number() -> None:
    assert np.isnan(classification_metrics(np.zeros(0, int), np.zeros((0, 3))).accuracy)


@pytest.mark.parametrize(
    ("truth", "logits", "words"),
    [
        ([0, 1], np.zeros((3, 2)), r"truth must be \(n,\)"),
        ([0, 2], np.zeros((2, 2)), "truth must be from 0 to 1"),
        ([0], np.full((1, 2), np.nan), "Some are NaN"),
    ],
)
def test_classification_metrics_refuse(truth: list[int], logits: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        classification_metrics(np.array(truth), logits)
