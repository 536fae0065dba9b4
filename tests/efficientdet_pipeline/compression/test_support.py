"""Compression while training: exact resume, bad steps, and what is refused."""

from typing import Any

import efficientdet
import keras
import numpy as np
import pytest
from efficientdet.types import GroundTruth
from tiny_network import tiny_config

from efficientdet_pipeline.compression import support
from efficientdet_pipeline.compression.kernels import compressible_kernels, overall_sparsity
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.compression import CompressionOptions
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.build import build_training_model
from efficientdet_pipeline.training.train_state import restore_state, state_arrays
from efficientdet_pipeline.training.train_step import TrainStepModel

BATCH, STEPS = 2, 4


def build(**options: Any) -> TrainStepModel:
    keras.utils.set_random_seed(3)
    run = compose(TrainOptions, url_dataset="none", batch_size=BATCH, num_epochs=2, **options)
    config = tiny_config()
    objective = detection_objective(config, run.optimizer)
    return build_training_model(efficientdet.build_model(config), objective, run, steps_per_epoch=STEPS)


def images_and_truth(count: int) -> tuple[np.ndarray, GroundTruth]:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 30, (count, 1, 2))
    boxes = np.concatenate([corners, corners + 24], -1).astype("float32")
    images = random.standard_normal((count, 64, 64, 3)).astype("float32")
    return images, GroundTruth(boxes, np.ones((count, 1), "int32"))


def take(model: TrainStepModel, first: int, steps: int) -> None:
    images, truth = images_and_truth(2 * STEPS * BATCH)
    rows = slice(first * BATCH, (first + steps) * BATCH)
    model.fit(
        images[rows], GroundTruth(*(part[rows] for part in truth)), batch_size=BATCH, shuffle=False, verbose=0,
        initial_epoch=first // STEPS, epochs=first // STEPS + 1, callbacks=model.callbacks,
    )  # fmt: skip


def without_metrics(model: TrainStepModel) -> dict[str, np.ndarray]:
    return {name: array for name, array in state_arrays(model).items() if not name.startswith("metric/")}


def test_compression_resumes_exactly_with_its_masks() -> None:
    whole = build(prune="sparsity=0.6,end_step=6,frequency=1")
    take(whole, 0, STEPS)
    state = state_arrays(whole)
    assert sum(name.startswith("run/prune_mask") for name in state) == len(compressible_kernels(whole.network))
    take(whole, STEPS, STEPS)
    again = build(prune="sparsity=0.6,end_step=6,frequency=1")
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
    assert values["sparsity/backbone/stem_conv/kernel"] == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("method", ["prune"])
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
