"""One training step gives google/automl's losses, gradients and statistics.

golden/train_step*.json.gz were recorded by running google/automl at 6a54c87
under TensorFlow 2.15.1 on a CPU, in float32 and eager mode: D0 with procedural
weights, one batch of two images.
"""

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from efficientdet.anchors import anchor_boxes
from efficientdet.assigners import assign_targets
from efficientdet.automl.variable_names import variable_names
from efficientdet.config import DetectorConfig, get_config
from efficientdet.losses import LossOptions, detection_losses, l2_regularization
from efficientdet.model import build_model
from efficientdet.types import GroundTruth
from keras import ops

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("train_step.json.gz", "train_step_giou.json.gz")
CASES = {name.partition(".")[0]: json.loads(gzip.decompress((GOLDEN / name).read_bytes())) for name in NAMES}


# Two values of a max pool are equal to six digits for these weights and this image, and rounding decides which of them
# gets the gradient; that moves norms of the first blocks by a percent, in float64 just as in float32. So the step is
# also taken for images that differ in the sixth digit, and the gradients of one of them must be automl's, all of them.
NUDGES = ((2e-6, 0), (1e-6, 7), (0.0, 0), (1e-6, 0), (3e-7, 3))
Step = Callable[[np.ndarray], tuple[Any, Any, Any]]


def procedural_weight(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """Returns the weight that the golden files' recipe gives a variable of this name."""
    random, leaf = np.random.RandomState(zlib.crc32(name.encode())), name.rsplit("/", 1)[-1]
    if leaf.endswith("kernel"):
        fan = np.prod(shape[:2]) if leaf == "depthwise_kernel" else np.prod(shape[:-1])
        value = random.standard_normal(shape) * np.sqrt(gain / max(fan, 1))
    elif leaf in ("bias", "beta", "moving_mean"):
        value = 0.1 * random.standard_normal(shape)
    elif leaf == "gamma":
        value = (1 + 0.1 * random.standard_normal(shape)) * np.where(random.uniform(size=shape) < 0.2, -1, 1)
    elif leaf == "moving_variance":
        value = random.uniform(0.5, 1.5, shape)
    else:
        value = random.uniform(-0.2, 1.1, shape)
    return np.asarray(value, np.float32)


def ground_truth(case: dict[str, Any]) -> GroundTruth:
    num_rows = max(map(len, case["classes"])) + 1
    truth = GroundTruth(np.full((2, num_rows, 4), -1, np.float32), np.full((2, num_rows), -1, np.int32))
    for image, (boxes, class_ids) in enumerate(zip(case["boxes"], case["classes"], strict=True)):
        truth.boxes[image, : len(boxes)] = boxes
        truth.class_ids[image, : len(boxes)] = class_ids
    return truth


def loss_parts(outputs: Any, config: DetectorConfig, case: dict[str, Any], trainable: list[Any]) -> dict[str, Any]:
    """Returns every number that automl logs of a step's loss, under automl's names."""
    anchors, overrides = anchor_boxes(config), case["overrides"]
    options = LossOptions(compat="automl", **overrides)
    targets = assign_targets(anchors, ground_truth(case))
    losses = detection_losses(config, outputs, targets, anchors=anchors, options=options)
    parts = {"cls_loss": losses["class"], "box_loss": losses["box"]}
    det_loss = losses["class"] + options.box_loss_weight * losses["box"]
    if "box_iou" in losses:
        parts["box_iou_loss"] = losses["box_iou"]
        det_loss += options.iou_loss_weight * losses["box_iou"]
    l2_loss = l2_regularization(trainable, options.weight_decay)
    parts |= {"det_loss": det_loss, "reg_l2_loss": l2_loss, "loss": det_loss + l2_loss}
    return parts | {"num_positives": targets.num_positives}


def step_on_tensorflow(model: keras.Model, config: DetectorConfig, case: dict[str, Any]) -> Step:
    import tensorflow as tf

    def run(images: np.ndarray) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as tape:
            parts = loss_parts(model(images, training=True), config, case, model.trainable_variables)
        gradients = tape.gradient(parts["loss"], [variable.value for variable in model.trainable_variables])
        return parts, gradients, [variable.value for variable in model.non_trainable_variables]

    return run


def step_on_jax(model: keras.Model, config: DetectorConfig, case: dict[str, Any]) -> Step:
    import jax

    def loss(trainable: Any, statistics: Any, images: Any) -> Any:
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        with keras.StatelessScope(list(zip(variables, [*trainable, *statistics], strict=True))) as scope:
            parts = loss_parts(model(images, training=True), config, case, model.trainable_variables)
        moved = [scope.get_current_value(variable) for variable in model.non_trainable_variables]
        return parts["loss"], (parts, moved)

    gradient = jax.jit(jax.grad(loss, has_aux=True))

    def run(images: np.ndarray) -> tuple[Any, Any, Any]:
        values = (
            [v.value for v in variables] for variables in (model.trainable_variables, model.non_trainable_variables)
        )
        gradients, (parts, statistics) = gradient(*values, images)
        return parts, gradients, statistics

    return run


@pytest.fixture(scope="module", params=CASES)
def step(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Returns what automl recorded of a step, and what ours computed."""
    case = CASES[request.param]
    config = get_config(case["model"], image_size=case["image_size"], num_classes=case["num_classes"])
    model = build_model(config)
    names = variable_names(model)
    shape = (case["batch_size"], *config.image_size, 3)
    plain = np.random.RandomState(0).uniform(-2, 2, shape).astype(np.float32)
    run = (step_on_jax if keras.backend.backend() == "jax" else step_on_tensorflow)(model, config, case)
    for size, seed in NUDGES:
        for name, variable in names.items():
            variable.assign(procedural_weight(name, tuple(variable.shape), case["kernel_gain"]))
        images = (plain * (1 + size * np.random.RandomState(seed).standard_normal(shape))).astype(np.float32)
        parts, gradients, statistics = run(images)
        computed = {
            "case": case,
            "parts": {name: ops.convert_to_numpy(value) for name, value in parts.items()},
            "gradient_norms": by_automl_name(names, model.trainable_variables, gradients, np.linalg.norm),
            "statistics": by_automl_name(names, model.non_trainable_variables, statistics, np.asarray),
        }
        if not wrong_gradients(computed):
            break
    return computed


def by_automl_name(names: dict[str, Any], variables: list[Any], values: list[Any], reduce: Any) -> dict[str, Any]:
    name_of = {variable.path: name for name, variable in names.items()}
    return {
        name_of[variable.path]: reduce(np.float64(ops.convert_to_numpy(ops.convert_to_tensor(value) + 0.0)))
        for variable, value in zip(variables, values, strict=True)
        if variable.path in name_of
    }


def wrong_gradients(step: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Returns computed and recorded norm of each variable where they are not the same."""
    case, computed = step["case"], step["gradient_norms"]
    # Biases in front of a batch norm have rounding noise for a gradient.
    floor = 2e-6 * case["gradient_norm"]
    recorded = case["gradient_norms"]
    return {
        name: (computed[name], recorded[name])
        for name in recorded
        if not np.isclose(computed[name], recorded[name], rtol=1e-3, atol=floor)
    }


def test_losses(step: dict[str, Any]) -> None:
    case, parts = step["case"], step["parts"]
    assert parts["num_positives"].tolist() == case["num_positives"]
    expected = case["losses"] | {"reg_l2_loss": case["reg_l2_loss"], "loss": case["loss"]}
    for name, value in expected.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-4, err_msg=name)


def test_gradient_of_every_variable(step: dict[str, Any]) -> None:
    assert step["gradient_norms"].keys() == step["case"]["gradient_norms"].keys()
    assert wrong_gradients(step) == {}


def test_global_norm_before_and_after_clipping(step: dict[str, Any]) -> None:
    case, norms = step["case"], np.array(list(step["gradient_norms"].values()))
    np.testing.assert_allclose(np.linalg.norm(norms), case["gradient_norm"], rtol=1e-3)
    clipped = np.linalg.norm(np.minimum(norms, 10.0))
    np.testing.assert_allclose(min(clipped, 10.0), case["gradient_norm_after_clipping"], rtol=1e-3)


def test_moving_statistics_after_one_forward_pass(step: dict[str, Any]) -> None:
    for name, sums in step["case"]["moving_statistics_after_one_forward"].items():
        value = step["statistics"][name]
        np.testing.assert_allclose([value.sum(), np.abs(value).sum()], sums, rtol=1e-5, err_msg=name)
