import functools
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from efficientdet import boxes, losses
from efficientdet.anchors import anchor_boxes, feature_sizes
from efficientdet.assigners import assign_targets
from efficientdet.config import get_config
from efficientdet.losses import (
    LossOptions,
    detection_losses,
    focal_loss,
    huber_box_loss,
    iou_box_loss,
    quality_focal_loss,
)
from efficientdet.types import BACKGROUND, IGNORED, GroundTruth, Targets
from keras import ops

CONFIG = get_config("efficientdet-d0", image_size=128, num_classes=4)
ANCHORS = anchor_boxes(CONFIG)
SIDES = {3: 16, 4: 8, 5: 4, 6: 2, 7: 1}
OBJECTS = GroundTruth(
    np.float32([[[20, 20, 60, 50], [70, 64, 120, 128]], [[64, 64, 65, 65], [-1, -1, -1, -1]]]),
    np.int32([[3, 1], [4, -1]]),
)
NOTHING = GroundTruth(np.full((2, 2, 4), -1, np.float32), np.full((2, 2), -1, np.int32))


def with_gradient(function: Callable[..., Any]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Returns the function, traced, with its gradient to the first argument, on either backend."""
    if keras.backend.backend() == "jax":
        import jax

        traced = jax.jit(jax.value_and_grad(function))
    else:
        import tensorflow as tf

        @tf.function(autograph=False)
        def traced(at: Any, *others: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(at)
                value = function(at, *others)
            return value, tape.gradient(value, at)

    def run(*arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        tensors = keras.tree.map_structure(ops.convert_to_tensor, arguments)
        return tuple(ops.convert_to_numpy(result) for result in traced(*tensors))

    return run


def value_and_gradient(function: Callable[[Any], Any], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return with_gradient(function)(at)


def random_outputs(seed: int = 0, scale: float = 1.0) -> dict[str, dict[int, np.ndarray]]:
    random = np.random.RandomState(seed)
    depths = {"class": 9 * CONFIG.num_classes, "box": 36}
    return {
        name: {
            level: (scale * random.standard_normal((2, side, side, depth))).astype(np.float32)
            for level, side in SIDES.items()
        }
        for name, depth in depths.items()
    }


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function compiled as in a training step, on either backend."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False)


def targets_of(truth: GroundTruth) -> Targets:
    return compiled(assign_targets)(*keras.tree.map_structure(ops.convert_to_tensor, (ANCHORS, truth)))


def losses_of(
    outputs: dict[str, dict[int, np.ndarray]], targets: Targets, normalizer: float | None = None, **options: Any
) -> dict[str, float]:
    """Returns the loss terms, traced."""

    def traced(outputs: Any, targets: Any) -> Any:
        return detection_losses(
            CONFIG, outputs, targets, anchors=ANCHORS, options=LossOptions(**options), normalizer=normalizer
        )

    return {name: float(loss) for name, loss in compiled(traced)(outputs, targets).items()}


def all_anchors(pyramid: dict[int, np.ndarray], depth: int) -> np.ndarray:
    return np.concatenate([pyramid[level].reshape(2, -1, depth) for level in sorted(pyramid)], axis=1)


def focal_by_the_book(
    logits: np.ndarray, class_index: np.ndarray, alpha: float, gamma: float, smoothing: float
) -> float:
    """Returns the focal loss by the formula of the paper, in float64 and with a one-hot label."""
    logits = logits.astype(np.float64)
    label = (class_index[..., None] == np.arange(logits.shape[-1])).astype(np.float64)
    probability = 1 / (1 + np.exp(-logits))
    smooth = label * (1 - smoothing) + 0.5 * smoothing
    cross_entropy = -smooth * np.log(probability) - (1 - smooth) * np.log(1 - probability)
    wrong = label * (1 - probability) + (1 - label) * probability
    weight = label * alpha + (1 - label) * (1 - alpha)
    return float((weight * wrong**gamma * cross_entropy)[class_index != IGNORED].sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 1.5), (0.25, 2.0), (0.9, 0.0)])
def test_focal_loss_is_the_papers(alpha: float, gamma: float, smoothing: float) -> None:
    random = np.random.RandomState(3)
    logits = (3 * random.standard_normal((2, 50, 7))).astype(np.float32)
    class_index = random.randint(-2, 7, (2, 50)).astype(np.int32)
    total = focal_loss(logits, class_index, alpha=alpha, gamma=gamma, label_smoothing=smoothing)
    expected = focal_by_the_book(logits, class_index, alpha, gamma, smoothing)
    np.testing.assert_allclose(ops.convert_to_numpy(total), expected, rtol=1e-5)


def test_losses_focal_gradient_is_the_slope() -> None:
    random = np.random.RandomState(4)
    logits = (2 * random.standard_normal((6, 3))).astype(np.float32)
    class_index = np.int32([0, 2, 1, BACKGROUND, IGNORED, 2])
    _, gradient = value_and_gradient(lambda x: focal_loss(x, class_index, alpha=0.25, gamma=1.5), logits)
    for at in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[at] = 1e-3
        rise = focal_by_the_book(logits + step, class_index, 0.25, 1.5, 0.0)
        fall = focal_by_the_book(logits - step, class_index, 0.25, 1.5, 0.0)
        np.testing.assert_allclose(gradient[at], (rise - fall) / 2e-3, rtol=1e-2, atol=1e-4)


def test_losses_anchors_with_a_class_out_of_range_are_background() -> None:
    logits = np.random.RandomState(5).standard_normal((3, 4)).astype(np.float32)
    outside, background = np.int32([4, 99, BACKGROUND]), np.int32([BACKGROUND] * 3)
    first, second = (focal_loss(logits, index, alpha=0.25, gamma=1.5) for index in (outside, background))
    assert float(first) == float(second)


@pytest.mark.parametrize("logit", [-50.0, 50.0, -1e4, 1e4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_of_extreme_logits_is_finite(logit: float, smoothing: float) -> None:
    logits, class_index = np.full((4, 3), logit, np.float32), np.int32([0, 2, BACKGROUND, IGNORED])
    value, gradient = value_and_gradient(
        lambda x: focal_loss(x, class_index, alpha=0.25, gamma=1.5, label_smoothing=smoothing), logits
    )
    assert np.isfinite(value)
    assert value >= 0
    assert np.isfinite(gradient).all()


def test_losses_confident_right_answer_costs_nothing_and_a_wrong_one_its_logit() -> None:
    right = focal_loss(np.float32([[50, -50]]), np.int32([0]), alpha=0.25, gamma=1.5)
    wrong = focal_loss(np.float32([[-50, -50]]), np.int32([0]), alpha=0.25, gamma=1.5)
    assert float(right) < 1e-6
    np.testing.assert_allclose(float(wrong), 0.25 * 50, rtol=1e-5)


@pytest.mark.parametrize(
    ("error", "delta", "loss"),
    [(0.0, 0.1, 0.0), (0.05, 0.1, 0.00125), (0.1, 0.1, 0.005), (0.5, 0.1, 0.045), (-2.0, 1.0, 1.5)],
)
def test_losses_huber_loss(error: float, delta: float, loss: float) -> None:
    deltas = np.float32([[error, 0, 0, 0]])
    total = huber_box_loss(deltas, np.zeros_like(deltas), np.array([[True]]), delta=delta)
    np.testing.assert_allclose(float(total), loss, rtol=1e-5)


def test_losses_huber_loss_counts_what_is_learned() -> None:
    deltas = np.ones((3, 4), np.float32)
    whole = huber_box_loss(deltas, 0 * deltas, np.array([[True], [False], [True]]), delta=1.0)
    single = huber_box_loss(deltas, 0 * deltas, np.eye(3, 4, dtype=bool), delta=1.0)
    assert (float(whole), float(single)) == (4.0, 1.5)


@pytest.mark.parametrize("kind", losses.IOU_LOSSES)
def test_iou_losses_have_finite_gradients_everywhere(kind: str) -> None:
    target = np.float32([[0, 0, 0, 0], [3, 3, 4, 4], [3, 3, 4, 4], [5, 5, 5, 9], [0, 0, 128, 128]])
    predicted = np.float32([[1, 1, 5, 5], [3, 3, 4, 4], [60, 60, 61, 61], [5, 5, 5, 5], [9, 9, 3, 3]])
    value, gradient = value_and_gradient(lambda x: ops.sum(iou_box_loss(x, target, kind=kind)), predicted)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert not gradient[0].any(), "a target without size has no loss"


def test_losses_weight_of_the_aspect_term_is_a_constant_unless_asked() -> None:
    target, predicted = np.float32([[10, 10, 50, 90]]), np.float32([[12, 15, 60, 60]])

    def loss(weight_learns: bool) -> Callable[[Any], Any]:
        return lambda x: ops.sum(iou_box_loss(x, target, kind="ciou", weight_learns=weight_learns))

    value, constant = value_and_gradient(loss(False), predicted)
    same_value, learning = value_and_gradient(loss(True), predicted)
    assert value == same_value
    assert np.abs(constant - learning).max() > 1e-5
    step = np.float32([[0, 0, 0.01, 0]])
    rise, fall = (float(1 - boxes.ciou(predicted + sign * step, target)[0]) for sign in (1, -1))
    np.testing.assert_allclose(learning[0, 2], (rise - fall) / 0.02, rtol=2e-2)


def test_losses_parts_of_the_loss_are_sums_over_positives_plus_one() -> None:
    outputs, targets = random_outputs(), targets_of(OBJECTS)
    found = losses_of(outputs, targets, iou_loss_type="giou")
    logits, deltas = all_anchors(outputs["class"], CONFIG.num_classes), all_anchors(outputs["box"], 4)
    class_index, box_targets = (ops.convert_to_numpy(value) for value in targets[:2])
    is_positive = class_index >= 0
    normalizer = is_positive.sum() + 1
    error = np.abs(deltas - box_targets)[is_positive]
    huber = np.where(error <= 0.1, error**2 / 2, 0.1 * error - 0.005).sum()
    decoded, wanted = (ops.convert_to_numpy(boxes.decode_boxes(d, ANCHORS))[is_positive] for d in (deltas, box_targets))
    overlap = ops.convert_to_numpy(boxes.giou(decoded, wanted))
    expected = {
        "class": focal_by_the_book(logits, class_index, 0.25, 1.5, 0.0) / normalizer,
        "box": huber / (4 * normalizer),
        "box_iou": (1 - overlap).sum() / (4 * normalizer),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


def test_losses_given_normalizer_takes_the_place_of_the_batchs_own() -> None:
    outputs, targets = random_outputs(), targets_of(OBJECTS)
    own, given = (losses_of(outputs, targets, normalizer=normalizer) for normalizer in (None, 7.0))
    factor = (float(ops.sum(targets.num_positives)) + 1) / 7
    for name in ("class", "box"):
        np.testing.assert_allclose(given[name], own[name] * factor, rtol=1e-5)


def test_losses_coordinate_that_should_be_exactly_zero_is_learned() -> None:
    # An object right on an anchor: all four targets are 0, and automl learns none of them.
    anchor = 1000
    truth = GroundTruth(ANCHORS[None, anchor : anchor + 1], np.int32([[1]]))
    targets = targets_of(truth)
    assert np.abs(ops.convert_to_numpy(targets.boxes)[0, anchor]).max() < 1e-6

    def gradient_at_anchor(compat: str | None) -> np.ndarray:
        def box_loss(deltas: Any) -> Any:
            start, box = 0, {}
            for level, side in SIDES.items():
                box[level] = ops.reshape(deltas[:, start : start + side * side * 9], (1, side, side, 36))
                start += side * side * 9
            outputs = {"class": {level: ops.zeros((1, side, side, 36)) for level, side in SIDES.items()}, "box": box}
            options = LossOptions(compat=compat)
            return detection_losses(CONFIG, outputs, targets, anchors=ANCHORS, options=options)["box"]

        return value_and_gradient(box_loss, np.ones((1, len(ANCHORS), 4), np.float32))[1][0, anchor]

    assert gradient_at_anchor(None).all()
    assert not gradient_at_anchor("automl").any()


@pytest.mark.parametrize("kind", [None, "ciou"])
def test_losses_gradients_are_finite_for_any_truth_and_any_network(kind: str | None) -> None:
    def total(shift: Any, targets: Targets) -> Any:
        outputs = {
            name: {level: ops.zeros((2, side, side, 36)) + shift for level, side in SIDES.items()}
            for name in ("class", "box")
        }
        options = LossOptions(iou_loss_type=kind)
        return sum(detection_losses(CONFIG, outputs, targets, anchors=ANCHORS, options=options).values())

    total_and_gradient = with_gradient(total)
    for truth, logit in itertools.product((OBJECTS, NOTHING), (0.0, 50.0, -50.0)):
        value, gradient = total_and_gradient(np.full(36, logit, np.float32), targets_of(truth))
        assert np.isfinite(value), (truth, logit)
        assert np.isfinite(gradient).all(), (truth, logit)


def test_losses_half_precision_outputs_are_summed_in_single() -> None:
    targets = targets_of(OBJECTS)
    outputs = random_outputs()
    half = {name: {level: value.astype(np.float16) for level, value in p.items()} for name, p in outputs.items()}
    full = losses_of(outputs, targets)
    for name, loss in losses_of(half, targets).items():
        np.testing.assert_allclose(loss, full[name], rtol=1e-2)


def test_losses_outputs_of_another_image_size_are_refused() -> None:
    targets = Targets(np.full((2, 99), -1, np.int32), np.zeros((2, 99, 4), np.float32), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"outputs at 3069 anchors and targets for 99.*\(128, 128\)"):
        detection_losses(CONFIG, random_outputs(), targets, anchors=ANCHORS, options=LossOptions())


def test_losses_options_refuse_unknown_words() -> None:
    with pytest.raises(ValueError, match=r"iou, giou, diou, ciou, or None.*Received 'eiou'"):
        LossOptions(iou_loss_type="eiou")
    with pytest.raises(ValueError, match="compat must be 'automl' or None"):
        LossOptions(compat="tf1")


def test_losses_only_kernels_are_decayed() -> None:
    dense, norm = keras.layers.Dense(2), keras.layers.BatchNormalization()
    depthwise = keras.layers.SeparableConv2D(3, 3)
    for layer, shape in ((dense, (1, 3)), (norm, (1, 3)), (depthwise, (1, 8, 8, 3))):
        layer.build(shape)
    variables = [*dense.variables, *norm.variables, *depthwise.variables]
    kernels = [dense.kernel, depthwise.depthwise_kernel, depthwise.pointwise_kernel]
    expected = 4e-5 * sum(float(ops.sum(ops.square(kernel))) for kernel in kernels) / 2
    np.testing.assert_allclose(float(losses.l2_regularization(variables, 4e-5)), expected, rtol=1e-5)
    assert float(losses.l2_regularization([], 4e-5)) == 0.0


def test_losses_iou_loss_decodes_each_output_with_its_own_anchor() -> None:
    # Strides that differ by level and axis: with anchors in another order the overlaps would be others.
    config = get_config("efficientdet-d0", image_size="70x100", num_classes=1)
    anchors = anchor_boxes(config)
    random = np.random.RandomState(0)
    outputs = {
        name: {
            level: (0.3 * random.standard_normal((2, *size, depth))).astype(np.float32)
            for level, size in feature_sizes(config).items()
        }
        for name, depth in (("class", 9), ("box", 36))
    }
    truth = GroundTruth(np.float32([[[5, 5, 40, 33]], [[20, 10, 95, 60]]]), np.int32([[1], [1]]))
    targets = assign_targets(anchors, truth)
    found = detection_losses(config, outputs, targets, anchors=anchors, options=LossOptions(iou_loss_type="ciou"))
    is_positive = ops.convert_to_numpy(targets.class_index) >= 0
    deltas = np.concatenate([outputs["box"][level].reshape(2, -1, 4) for level in config.levels], axis=1)
    decoded = ops.convert_to_numpy(boxes.decode_boxes(deltas, anchors))[is_positive]
    wanted = np.concatenate([np.tile(b, (n, 1)) for b, n in zip(truth.boxes[:, 0], is_positive.sum(1), strict=True)])
    expected = (1 - ops.convert_to_numpy(boxes.ciou(decoded, wanted))).sum() / (4 * (is_positive.sum() + 1))
    np.testing.assert_allclose(float(found["box_iou"]), expected, rtol=1e-4)


def test_losses_label_beyond_the_classes_has_no_box_loss() -> None:
    anchors = ANCHORS.shape[0]
    class_index = np.full((1, anchors), BACKGROUND, np.int32)
    class_index[0, 5] = CONFIG.num_classes
    targets = Targets(class_index, np.ones((1, anchors, 4), np.float32), np.ones((1,), np.float32))
    outputs = {
        "class": {
            level: np.zeros((1, side, side, 9 * CONFIG.num_classes), np.float32) for level, side in SIDES.items()
        },
        "box": {level: np.zeros((1, side, side, 36), np.float32) for level, side in SIDES.items()},
    }
    found = detection_losses(CONFIG, outputs, targets, anchors=ANCHORS, options=LossOptions())
    assert float(found["box"]) == 0.0


def quality_focal_by_formula(logits: np.ndarray, index: np.ndarray, quality: np.ndarray, gamma: float) -> float:
    """Eq. 2 of "Generalized Focal Loss", entry by entry, in float64."""
    total = 0.0
    for anchor, class_index in np.ndenumerate(index):
        if class_index == IGNORED:
            continue
        for column, logit in enumerate(logits[anchor].astype(np.float64)):
            label = float(quality[anchor]) if column == class_index else 0.0
            score = 1 / (1 + np.exp(-logit))
            cross_entropy = -(1 - label) * np.log(1 - score) - label * np.log(score)
            total += abs(label - score) ** gamma * cross_entropy
    return total


@pytest.mark.parametrize("gamma", [1.5, 2.0])
def test_quality_focal_loss_is_the_paper_s_formula(gamma: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 5, 3)).astype(np.float32)
    index = np.int32([[0, 2, BACKGROUND, IGNORED, 1], [BACKGROUND, 7, 1, 1, IGNORED]])
    quality = random.uniform(size=(2, 5)).astype(np.float32)
    value, gradient = value_and_gradient(
        lambda at: quality_focal_loss(at, ops.convert_to_tensor(index), ops.convert_to_tensor(quality), gamma=gamma),
        logits,
    )
    np.testing.assert_allclose(value, quality_focal_by_formula(logits, index, quality, gamma), rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert (gradient[index == IGNORED] == 0).all()


def test_quality_focal_loss_wants_the_score_to_be_the_overlap() -> None:
    quality = np.float32([0.7])
    at_label = np.float32([[np.log(0.7 / 0.3)]])
    value, gradient = value_and_gradient(
        lambda at: quality_focal_loss(
            at, ops.convert_to_tensor(np.int32([0])), ops.convert_to_tensor(quality), gamma=2.0
        ),
        at_label,
    )
    np.testing.assert_allclose([value, gradient[0, 0]], [0, 0], atol=1e-6)


def test_detection_losses_quality_focal_labels_objects_with_their_overlap() -> None:
    targets = assign_targets(ANCHORS, OBJECTS)
    outputs = random_outputs(scale=0.1)
    options = LossOptions(class_loss="quality_focal", gamma=2.0)

    def parts(box: float) -> dict[str, float]:
        moved = {**outputs, "box": {level: values + np.float32(box) for level, values in outputs["box"].items()}}
        found = detection_losses(CONFIG, moved, targets, anchors=ANCHORS, options=options)
        return {name: float(ops.convert_to_numpy(value)) for name, value in found.items()}

    # Boxes that lie elsewhere ask for lower scores, and scores near one half then cost another sum.
    assert parts(0.0)["class"] != parts(3.0)["class"]
    same = detection_losses(CONFIG, outputs, targets, anchors=ANCHORS, options=LossOptions())
    assert parts(0.0)["box"] == float(ops.convert_to_numpy(same["box"]))


@pytest.mark.parametrize(
    "given", [{"class_loss": "varifocal"}, {"class_loss": "quality_focal", "label_smoothing": 0.1}]
)
def test_loss_options_refuse_a_class_loss_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="class_loss"):
        LossOptions(**given)
