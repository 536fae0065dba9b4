"""Tests of segmentation losses against numpy, on random batches too."""

import numpy as np
import pytest
from efficientdet.segmentation_losses import LOSSES, SegmentationLossOptions, parse_loss, segmentation_loss
from keras import ops


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def reference(name: str, logits: np.ndarray, labels: np.ndarray, options: SegmentationLossOptions) -> float:
    """Computes a loss pixel by pixel in float64."""
    logits = logits.astype(np.float64)
    columns = logits.shape[-1]
    classes = max(2, columns)
    weights = options.class_weights or (1.0,) * classes
    smoothing = options.label_smoothing
    pixels = [(x, int(label)) for x, label in zip(logits.reshape(-1, columns), labels.ravel(), strict=True)]
    pixels = [(x, label) for x, label in pixels if label != options.ignore_id]
    if not pixels:
        return 0.0
    if name == "dice":
        common, chance_sum, truth_sum = (np.zeros(columns) for _ in range(3))
        for x, label in pixels:
            chances = softmax(x) if columns > 1 else 1 / (1 + np.exp(-x))
            truth = np.eye(columns)[label] if columns > 1 else np.array([float(label)])
            common += chances * truth
            chance_sum += chances
            truth_sum += truth
        smooth = options.dice_smooth
        return float(np.mean(1 - (2 * common + smooth) / (chance_sum + truth_sum + smooth)))
    total = weight_sum = 0.0
    for x, label in pixels:
        chances = softmax(x) if columns > 1 else np.array([1 / (1 + np.exp(x[0])), 1 / (1 + np.exp(-x[0]))])
        if name == "focal":
            value = -((1 - chances[label]) ** options.focal_gamma) * np.log(chances[label])
            if columns == 1:
                value *= options.focal_alpha if label == 1 else 1 - options.focal_alpha
        elif name == "cross_entropy" and columns > 1:
            target = np.eye(classes)[label] * (1 - smoothing) + smoothing / classes
            value = -(target * np.log(chances)).sum()
        else:
            truth = np.eye(columns)[label] if columns > 1 else np.array([float(label)])
            truth = truth * (1 - smoothing) + smoothing / 2
            sigmoid = 1 / (1 + np.exp(-x))
            value = -(truth * np.log(sigmoid) + (1 - truth) * np.log(1 - sigmoid)).mean()
        total += value * weights[label]
        weight_sum += weights[label]
    return total / weight_sum if weight_sum else 0.0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_losses_equal_numpy_on_random_batches(name: str, columns: int) -> None:
    generator = np.random.default_rng(columns)
    classes = max(2, columns)
    for case in range(12):
        logits = generator.normal(scale=3, size=(2, 3, 4, columns)).astype("float32")
        labels = generator.integers(0, classes, (2, 3, 4))
        labels[generator.random(labels.shape) < (0.3, 0.0, 1.0)[case % 3]] = 255
        options = SegmentationLossOptions(
            terms=((name, 1.0),),
            class_weights=tuple(generator.random(classes)) if case % 2 else (),
            label_smoothing=0.1 * (case % 4 == 3),
            focal_gamma=(2.0, 1.5, 0.0)[case % 3],
            dice_smooth=(1.0, 0.1)[case % 2],
        )
        found = segmentation_loss(logits, labels, options)
        assert float(found["loss"]) == pytest.approx(reference(name, logits, labels, options), rel=2e-4, abs=2e-6)


def test_segmentation_losses_sum_of_losses_weighs_its_terms() -> None:
    generator = np.random.default_rng(9)
    logits, labels = generator.normal(size=(1, 4, 4, 1)).astype("float32"), generator.integers(0, 2, (1, 4, 4))
    found = segmentation_loss(logits, labels, SegmentationLossOptions(terms=parse_loss("bce + 0.5*dice+.25*focal")))
    assert found.keys() == {"bce", "dice", "focal", "loss"}
    expected = float(found["bce"]) + 0.5 * float(found["dice"]) + 0.25 * float(found["focal"])
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-6)


def test_segmentation_losses_perfect_and_hopeless_predictions() -> None:
    labels = np.array([[[0, 1], [2, 255]]])
    sure = np.eye(3, dtype="float32")[np.array([[[0, 1], [2, 0]]])] * 60 - 30
    options = SegmentationLossOptions(terms=parse_loss("cross_entropy+dice+focal"), dice_smooth=0.0)
    assert float(segmentation_loss(sure, labels, options)["loss"]) == pytest.approx(0, abs=1e-5)
    wrong = segmentation_loss(np.roll(sure, 1, axis=-1), labels, options)
    assert float(wrong["cross_entropy"]) == pytest.approx(60, rel=1e-4)
    assert float(wrong["dice"]) == pytest.approx(1, abs=1e-4)
    assert float(wrong["focal"]) == pytest.approx(60, rel=1e-4)


@pytest.mark.parametrize("stranger", [3, -1, 254])
def test_segmentation_losses_label_beyond_the_classes_makes_the_loss_nan(stranger: int) -> None:
    labels = np.array([[[0, 1], [2, stranger]]])
    logits = np.zeros((1, 2, 2, 3), "float32")
    assert np.isnan(float(segmentation_loss(logits, labels, SegmentationLossOptions())["loss"]))
    options = SegmentationLossOptions(ignore_id=stranger)
    assert np.isfinite(float(segmentation_loss(logits, labels, options)["loss"]))


def test_segmentation_losses_ignored_pixels_have_no_gradient() -> None:
    import keras

    logits = np.random.default_rng(3).normal(size=(1, 2, 2, 3)).astype("float32")
    labels = np.array([[[0, 255], [2, 1]]])
    options = SegmentationLossOptions(terms=parse_loss("cross_entropy+bce+dice+focal"))
    if keras.backend.backend() == "jax":
        import jax

        gradient = jax.grad(lambda x: segmentation_loss(x, labels, options)["loss"])(ops.convert_to_tensor(logits))
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            x = tf.constant(logits)
            tape.watch(x)
            loss = segmentation_loss(x, labels, options)["loss"]
        gradient = tape.gradient(loss, x)
    gradient = np.asarray(gradient)
    assert np.isfinite(gradient).all()
    assert (gradient[0, 0, 1] == 0).all()
    assert (np.abs(gradient[0, 0, 0]) > 0).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [("hinge", r"'hinge' is none of them"), ("bce+", "'' is none of them"), ("-1*bce", "is none of them")],
)
def test_parse_loss_refuses(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_loss(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"terms": ()}, "terms must name"),
        ({"terms": (("bce", 0.0),)}, "weights above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be"),
        ({"focal_alpha": 1.5}, "focal_alpha must be between"),
        ({"class_weights": (-1.0, 1.0)}, "class_weights must not be negative"),
    ],
)
def test_segmentation_loss_options_refuse(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SegmentationLossOptions(**options)


def test_class_weights_need_a_number_a_class() -> None:
    with pytest.raises(ValueError, match=r"one number per class, 2\. Received 3"):
        segmentation_loss(
            np.zeros((1, 1, 1, 1), "float32"),
            np.zeros((1, 1, 1), "int32"),
            SegmentationLossOptions(class_weights=(1, 2, 3)),
        )
