"""Compression while training: exact resume, bad steps, and what is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from efficientdet.layers import BatchNormalization

from efficientdet_pipeline.compression import support
from efficientdet_pipeline.compression.kernels import compressible_kernels, overall_sparsity
from efficientdet_pipeline.compression.pruning import prune
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.pretrained import StartWeights
from efficientdet_pipeline.options.compression import CompressionOptions, PruneSpec
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.build import build_training_model
from efficientdet_pipeline.training.train_state import restore_state, state_arrays, write_weights
from efficientdet_pipeline.training.train_step import TrainStepModel

BATCH, STEPS, SIDE = 2, 3, 8


class Tiny(keras.Model):
    """Two convolutions with a batch norm between them."""

    config = SimpleNamespace(image_size=(SIDE, SIDE))

    def __init__(self) -> None:
        super().__init__(name="tiny")
        self.first = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")
        self.norm = BatchNormalization(name="norm")
        self.second = keras.layers.Conv2D(4, 1, name="second")
        for layer, channels in ((self.first, 3), (self.norm, 8), (self.second, 8)):
            layer.build((None, SIDE, SIDE, channels))

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, images: Any, training: bool = False, seed: Any = None) -> dict[str, Any]:
        x = keras.ops.relu6(self.norm(self.first(images), training=training))
        return {"map": self.second(x)}

    def set_drop_path(self, seed: int, step: int) -> None:
        """Nothing is dropped."""

    def next_drop_path_seed(self) -> None:
        """Nothing is dropped."""


class Squares:
    """Objective: outputs like the truth."""

    loss_names = ("square_loss",)

    def targets(self, truth: Any) -> Any:
        return truth

    def count(self, targets: Any) -> Any:
        return keras.ops.sum(keras.ops.ones_like(targets[..., :1]))

    def normalizer(self, count: Any) -> Any:
        return count

    def terms(self, outputs: Any, targets: Any, normalizer: Any) -> tuple[Any, dict[str, Any]]:
        loss = keras.ops.sum(keras.ops.square(outputs["map"] - targets)) / normalizer
        return loss, {"square_loss": loss}


def build(*, network: Tiny | None = None, **options: Any) -> TrainStepModel:
    keras.utils.set_random_seed(3)
    run = compose(TrainOptions, url_dataset="none", batch_size=BATCH, num_epochs=2, learning_rate=0.5, **options)
    return build_training_model(network or Tiny(), Squares(), run, steps_per_epoch=STEPS)


def images_and_truth(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = (count, SIDE, SIDE, 3), (count, SIDE, SIDE, 4)
    images, truth = (random.standard_normal(shape).astype("float32") for shape in shapes)
    return images, truth


def take(model: TrainStepModel, first: int, steps: int) -> None:
    images, truth = images_and_truth(2 * STEPS * BATCH)
    rows = slice(first * BATCH, (first + steps) * BATCH)
    model.fit(
        images[rows], truth[rows], batch_size=BATCH, shuffle=False, verbose=0,
        initial_epoch=first // STEPS, epochs=first // STEPS + 1, callbacks=model.callbacks,
    )  # fmt: skip


def without_metrics(model: TrainStepModel) -> dict[str, np.ndarray]:
    return {name: array for name, array in state_arrays(model).items() if not name.startswith("metric/")}


def test_compression_resumes_exactly_with_its_masks() -> None:
    whole = build(prune="sparsity=0.6,end_step=4,frequency=1")
    take(whole, 0, STEPS)
    state = state_arrays(whole)
    assert sum(name.startswith("run/prune_mask") for name in state) == len(compressible_kernels(whole.network))
    take(whole, STEPS, STEPS)
    again = build(prune="sparsity=0.6,end_step=4,frequency=1")
    restore_state(again, state)
    take(again, STEPS, STEPS)
    expected, received = without_metrics(whole), without_metrics(again)
    assert all(np.array_equal(expected[name], received[name]) for name in expected)
    kernels = compressible_kernels(whole.network)
    assert overall_sparsity(kernels) == pytest.approx(0.6, abs=0.01)
    with whole.ema_weights():
        assert overall_sparsity(kernels) == pytest.approx(0.6, abs=0.01)
    values = whole.epoch_values[0]()
    assert values["sparsity_all"] == pytest.approx(0.6, abs=0.01)
    assert values["sparsity/first/kernel"] == pytest.approx(0.6, abs=0.01)


def test_compression_resumes_exactly_with_its_ranges() -> None:
    options = {"quantize": "observe_epochs=1", "prune": "sparsity=0.5,end_step=3,frequency=1"}
    whole = build(**options)
    take(whole, 0, STEPS)
    state = state_arrays(whole)
    ranges = next(array for name, array in state.items() if name.endswith("/ranges"))
    assert (ranges[:, 1] > ranges[:, 0]).all()
    take(whole, STEPS, STEPS)
    after = without_metrics(whole)
    assert np.array_equal(ranges, next(array for name, array in after.items() if name.endswith("/ranges")))
    again = build(**options)
    restore_state(again, state)
    take(again, STEPS, STEPS)
    received = without_metrics(again)
    assert all(np.array_equal(after[name], received[name]) for name in after)
    moving = [name for name in state if "moving_" in name and name.startswith("weight/")]
    assert moving
    assert all(np.array_equal(state[name], after[name]) for name in moving)
    assert overall_sparsity(compressible_kernels(whole.network)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("options", [{"quantize": "true"}, {"cluster": "8"}])
def test_compression_of_a_pruned_network_resumes_exactly_and_keeps_its_zeros(options: dict[str, str]) -> None:
    keras.utils.set_random_seed(3)
    pruned = Tiny()
    prune(pruned, PruneSpec(sparsity=0.5))
    whole = build(network=pruned, **options)
    take(whole, 0, STEPS)
    state = state_arrays(whole)
    take(whole, STEPS, STEPS)
    # The network of a run that is resumed is built with random weights.
    again = build(**options)
    restore_state(again, state)
    take(again, STEPS, STEPS)
    expected, received = without_metrics(whole), without_metrics(again)
    assert all(np.array_equal(expected[name], received[name]) for name in expected)
    assert overall_sparsity(compressible_kernels(again.network)) == pytest.approx(0.5, abs=0.01)
    with again.ema_weights():
        assert overall_sparsity(compressible_kernels(again.network)) == pytest.approx(0.5, abs=0.01)
    if "cluster" in options:
        assert all(np.sum(received[f"run/centroids_{number}"] == 0) == 1 for number in range(2))
        again.after_loading[0](None)
        assert overall_sparsity(compressible_kernels(again.network)) >= 0.5


def test_compression_resumes_exactly_with_its_centroids(tmp_path: Path) -> None:
    whole = build(cluster="8")
    take(whole, 0, STEPS)
    state = state_arrays(whole)
    take(whole, STEPS, STEPS)
    again = build(cluster="8")
    restore_state(again, state)
    take(again, STEPS, STEPS)
    expected, received = without_metrics(whole), without_metrics(again)
    assert all(np.array_equal(expected[name], received[name]) for name in expected)
    assert not np.array_equal(expected["run/centroids_0"], state["run/centroids_0"])
    write_weights(whole, state_arrays(whole), tmp_path / "model.weights.h5")
    with whole.ema_weights():
        outputs = whole.evaluated(images_and_truth(2)[0], training=False)
    whole.network.load_weights(tmp_path / "model.weights.h5")
    assert all(len(np.unique(np.asarray(each.variable.value))) <= 8 for each in compressible_kernels(whole.network))
    whole.after_loading[0](tmp_path)
    after = whole.evaluated(images_and_truth(2)[0], training=False)
    assert np.allclose(outputs["map"], after["map"], atol=1e-5)


def test_check_start_wants_a_trained_network_to_quantize() -> None:
    quantize = CompressionOptions(quantize="true")
    trained = StartWeights("pretrained_ckpt", "runs/base", is_backbone=False)
    for start in (None, trained):
        support.check_start(quantize, start)
    for start, said in (
        (trained._replace(place=""), "random weights"),
        (trained._replace(is_backbone=True), "backbone"),
    ):
        support.check_start(CompressionOptions(prune="0.5"), start)
        with pytest.raises(OptionsError, match=f"quantize needs the weights of a trained detector.*{said}"):
            support.check_start(quantize, start)


def test_quantize_refuses_what_it_cannot_do() -> None:
    for given, said in (({"accumulate_steps": 2}, "accumulate_steps must be 1 with --quantize"),
                        ({"precision": "mixed_bfloat16"}, "precision must be float32 with --quantize")):  # fmt: skip
        with pytest.raises(OptionsError, match=said):
            compose(TrainOptions, url_dataset="none", quantize="true", **given)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("segmentation", "--task=segmentation"),
        ("classification", "--task=class"),
        ("detection_parts", "--model_config"),
    ],
)
def test_check_compression_refuses_to_quantize_other_networks(task: str, said: str) -> None:
    support.check_compression(CompressionOptions(prune="0.5"), task)
    with pytest.raises(OptionsError, match=f"quantize trains EfficientDets. Received it with {said}.*; leave"):
        support.check_compression(CompressionOptions(quantize="true"), task)


@pytest.mark.parametrize("method", ["prune", "quantize", "cluster"])
def test_check_compression_refuses_jax(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = CompressionOptions(**{method: "true"})
    support.check_compression(options)
    monkeypatch.setattr(support.keras.backend, "backend", lambda: "jax")
    support.check_compression(CompressionOptions())
    with pytest.raises(
        OptionsError, match=f"{method} needs the backend tensorflow.*try --backend=tensorflow"
    ) as caught:
        support.check_compression(options)
    assert caught.value.option == method
