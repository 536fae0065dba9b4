"""Train step: what it changes, and what a bad step does not change. `tests/backends` tests the same on JAX."""

from collections.abc import Iterator
from typing import Any

import efficientdet
import keras
import numpy as np
import pytest
from efficientdet.types import GroundTruth

from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import strategy
from efficientdet_pipeline.training.build import build_training_model
from efficientdet_pipeline.training.train_state import state_arrays
from efficientdet_pipeline.training.train_step import TrainStepModel
from efficientdet_pipeline.training.transforms import TRANSFORMS, ModelTransform

TINY = {
    "image_size": 64,
    "max_level": 5,
    "num_classes": 2,
    "fpn_cell_repeats": 1,
    "fpn_num_filters": 8,
    "box_class_repeats": 2,
    "survival_prob": 0.5,
    "backbone_config": {
        "blocks": ["r1_k3_s11_e1_i32_o8_se0.25", "r2_k3_s22_e2_i8_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 3]
    },
}
BATCH = 4


@pytest.fixture(autouse=True)
def _float32_again() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


def build(model: str = "efficientdet-lite0", **options: Any) -> TrainStepModel:
    run = compose(TrainOptions, url_dataset="none", batch_size=BATCH, num_epochs=2, **options)
    strategy.build_strategy(run)
    config = efficientdet.get_config(model, **TINY)
    return build_training_model(
        efficientdet.build_model(config), detection_objective(config, run.optimizer), run, steps_per_epoch=2
    )


def batch(seed: int = 0) -> tuple[np.ndarray, GroundTruth]:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 30, (BATCH, 2, 2))
    boxes = np.concatenate([corners, corners + 24], -1).astype("float32")
    class_ids = np.array([[1, 2], [1, -1], [2, -1], [-1, -1]], "int32")
    return random.standard_normal((BATCH, 64, 64, 3)).astype("float32"), GroundTruth(boxes, class_ids)


def take(model: TrainStepModel, *batches: tuple[np.ndarray, GroundTruth], epochs: int = 1) -> dict[str, list[float]]:
    images = np.concatenate([images for images, _ in batches])
    truth = GroundTruth(*(np.concatenate(parts) for parts in zip(*(truth for _, truth in batches), strict=True)))
    return model.fit(
        images, truth, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=model.callbacks
    ).history


def with_nan(seed: int = 0) -> tuple[np.ndarray, GroundTruth]:
    images, truth = batch(seed)
    images[1, 5, 5, 0] = np.nan
    return images, truth


def test_train_step_that_is_bad_changes_only_counters() -> None:
    model = build()
    take(model, batch(0))
    before = state_arrays(model)
    history = take(model, with_nan())
    after = state_arrays(model)
    changed = {
        name
        for name in before
        if not np.array_equal(before[name], after[name]) and not name.startswith(("metric/", "weight/drop_path_seed"))
    }
    assert {name.rpartition("/")[2] for name in changed} == {"iteration", "bad_steps", "bad_steps_total"}
    assert after["optimizer/optimizer/iteration"] == 2
    assert history["bad_steps"] == [1.0]
    assert np.isnan(history["step_loss"][0])
    assert history["loss"] == [0.0]  # No good step, so there is no mean.


def test_train_step_counts_consecutive_and_all_bad_steps() -> None:
    model = build()
    assert take(model, with_nan(), with_nan())["bad_steps"] == [2.0]
    history = take(model, with_nan(), batch(0))
    assert history["bad_steps"] == [0.0]
    assert history["loss"][0] == pytest.approx(history["step_loss"][0])
    assert (int(model.bad_steps), int(model.bad_steps_total)) == (0, 3)


def test_train_step_applies_the_learning_rate_factor() -> None:
    moved = []
    for factor in (1.0, 0.5):
        model = build(weight_decay=0.0)
        model.learning_rate_factor.assign(factor)
        before = keras.ops.convert_to_numpy(model.trained_variables()[0])
        take(model, batch(0))
        moved.append(keras.ops.convert_to_numpy(model.trained_variables()[0]) - before)
        assert model.last_learning_rate() == pytest.approx(factor * 0.008 * BATCH / 64)
    np.testing.assert_allclose(moved[1], moved[0] / 2, rtol=1e-3, atol=1e-7)


def test_train_step_with_gradient_accumulation_equals_the_whole_batch() -> None:
    # Parts take every other image; with each image twice, they have the batch statistics of the whole.
    images, truth = batch(0)
    twice = images.repeat(2, axis=0)[:BATCH], GroundTruth(*(part.repeat(2, axis=0)[:BATCH] for part in truth))
    states, losses = [], []
    for parts in (1, 2):
        model = build("efficientdet-d0", accumulate_steps=parts)
        losses.append(take(model, twice, twice)["loss"][0])
        states.append(state_arrays(model))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for name, expected in states[0].items():
        if not (name.endswith("moving_variance") or name.startswith("metric/")):  # Estimated from fewer values.
            np.testing.assert_allclose(states[1][name], expected, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("blocks", [pytest.param("true", marks=pytest.mark.slow), "cell_|class-0|blocks_[01]$"])
def test_train_step_with_gradient_checkpointing_is_the_same(blocks: str) -> None:
    states = []
    for again in ("", blocks):
        model = build(grad_checkpoint=again)
        take(model, batch(0), batch(1))
        states.append(state_arrays(model))
    for name, expected in states[0].items():
        np.testing.assert_allclose(states[1][name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_freeze_backbone_for_the_first_epochs() -> None:
    model = build(freeze_backbone_epochs=1, weight_decay=0.0)
    backbone = [variable.path for variable in model.network.backbone.trainable_variables]

    def of_backbone() -> list[np.ndarray]:
        return [keras.ops.convert_to_numpy(v) for v in model.network.backbone.trainable_variables]

    seen = [of_backbone()]
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(of_backbone()))
    model.callbacks.append(look)
    take(model, batch(0), epochs=2)
    assert all(np.array_equal(*pair) for pair in zip(seen[0], seen[1], strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(seen[1], seen[2], strict=True)), backbone


def test_train_step_averages_positives_from_the_first_batch() -> None:
    model = build(positives_momentum=0.9)
    moving = model.run_variables["moving_positives"]
    take(model, batch(0))
    first = float(moving)
    assert first > 1
    take(model, with_nan(1))
    assert float(moving) == first
    images, truth = batch(0)
    nothing = GroundTruth(truth.boxes, np.full_like(truth.class_ids, -1))
    take(model, (images, nothing))
    assert float(moving) == pytest.approx(0.9 * first)


def test_train_step_halves_the_loss_scale_at_an_overflow() -> None:
    model = build(precision="mixed_float16", loss_scale=2.0**40)
    scale = model.run_variables["loss_scale"]
    weights = [keras.ops.convert_to_numpy(v) for v in model.trained_variables()]
    assert take(model, batch(0))["bad_steps"] == [0.0]
    assert float(scale) == 2.0**39
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.trained_variables(), strict=True))
    scale.assign(256.0)
    take(model, batch(0))
    assert float(scale) == 256.0
    assert int(model.run_variables["steps_at_scale"]) == 1
    assert not np.array_equal(weights[0], model.trained_variables()[0])
    take(model, with_nan())
    assert float(scale) == 256.0
    assert int(model.bad_steps) == 1


def test_train_step_with_adamw_does_not_decay_biases_and_normalization() -> None:
    model = build(optimizer="adamw", weight_decay=0.5)
    decayed = [variable.name for variable in model.trained_variables() if model.optimizer._use_weight_decay(variable)]
    assert decayed
    assert all(name.endswith("kernel") for name in decayed)


class Clamp(ModelTransform):
    """A transform from outside the package: its hook keeps the class head's bias within a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def on_compiled(self, model: TrainStepModel) -> None:
        bias = next(each for each in model.network.class_head.trainable_variables if each.path.endswith("bias"))
        model.add_step_hook(ClampHook(bias, self.limit))


class ClampHook:
    def __init__(self, variable: keras.Variable, limit: float) -> None:
        self.variable, self.limit = variable, limit
        self.count = keras.Variable(0, trainable=False, dtype="int32", name="clamped")

    @property
    def state(self) -> list[keras.Variable]:
        return [self.count]

    def update(self, step: Any) -> None:
        del step
        self.variable.assign(keras.ops.clip(self.variable.value, -self.limit, self.limit))
        self.count.assign(self.count.value + 1)


def test_train_step_calls_the_hooks_of_transforms_after_finite_steps_alone() -> None:
    run = compose(TrainOptions, url_dataset="none", batch_size=BATCH, num_epochs=2)
    strategy.build_strategy(run)
    config = efficientdet.get_config("efficientdet-lite0", **TINY)
    model = build_training_model(
        efficientdet.build_model(config),
        detection_objective(config, run.optimizer),
        run,
        steps_per_epoch=2,
        transforms=[*TRANSFORMS, lambda options, num_steps: Clamp(1e-6)],
    )
    take(model, batch(0), with_nan(1))
    hook = model.step_hooks[-1]
    assert int(hook.count.numpy()) == 1
    assert np.abs(keras.ops.convert_to_numpy(hook.variable)).max() <= 1e-6
    assert any(name.startswith("run/") and name.endswith("clamped") for name in state_arrays(model))
