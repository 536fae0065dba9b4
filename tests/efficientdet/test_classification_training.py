"""Loss of a classifier: cross-entropy, label smoothing, and shares of a batch that add up."""

import keras
import numpy as np
import pytest
from efficientdet.classification_training import ClassificationObjective

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], np.float32))
TRUTH = np.array([0, 2])


def loss_of(objective: ClassificationObjective, logits: np.ndarray, truth: np.ndarray, count: float) -> float:
    targets = objective.targets(keras.ops.convert_to_tensor(truth))
    total, terms = objective.terms(keras.ops.convert_to_tensor(logits), targets, keras.ops.convert_to_tensor(count))
    assert set(terms) == set(objective.loss_names)
    return float(keras.ops.convert_to_numpy(total))


def test_classification_objective_is_the_mean_cross_entropy() -> None:
    objective = ClassificationObjective()
    assert loss_of(objective, LOGITS, TRUTH, 2.0) == pytest.approx(-(np.log(0.7) + np.log(0.5)) / 2, rel=1e-5)
    parts = [loss_of(objective, LOGITS[part], TRUTH[part], 2.0) for part in (slice(1), slice(1, 2))]
    assert sum(parts) == pytest.approx(loss_of(objective, LOGITS, TRUTH, 2.0), rel=1e-5)
    assert float(objective.normalizer(objective.count(keras.ops.convert_to_tensor(TRUTH)))) == 2


def test_classification_objective_smooths_labels() -> None:
    expected = -(0.8 * np.log(0.7) + 0.1 * np.log(0.2) + 0.1 * np.log(0.1))
    assert loss_of(ClassificationObjective(label_smoothing=0.3), LOGITS[:1], TRUTH[:1], 1.0) == pytest.approx(
        expected, rel=1e-5
    )
    with pytest.raises(ValueError, match="label_smoothing must be"):
        ClassificationObjective(label_smoothing=1.0)
