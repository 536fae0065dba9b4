"""`fit` gives the same losses on TensorFlow and JAX, and JAX does not need TensorFlow."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

Start = Callable[..., subprocess.CompletedProcess[str]]

# A few hundred values per layer, and everything with random numbers or state: drop path in the heads, batch
# statistics, metrics, an image without objects.
TRAIN = """
import json
import sys
import efficientdet
import keras
import numpy as np
from efficientdet.training_model import DetectorTrainingModel
from efficientdet.losses import LossOptions
from efficientdet.types import GroundTruth

stages = ["r1_k3_s11_e1_i32_o8_se0.25", "r2_k3_s22_e1_i8_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 3]
keras.utils.set_random_seed(1)
config = efficientdet.get_config(
    "efficientdet-d0",
    image_size=64,
    max_level=5,
    num_classes=2,
    fpn_cell_repeats=1,
    fpn_num_filters=8,
    box_class_repeats=2,
    survival_prob=0.5,
    backbone_config={"blocks": stages},
)
detector = efficientdet.build_model(config)
detector.set_drop_path(5, 0)
model = DetectorTrainingModel(detector, config, LossOptions(iou_loss_type="ciou"))
# Without jit, JAX compiles each operation separately; TensorFlow on a CPU is faster without jit.
model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=keras.backend.backend() == "jax")

random = np.random.default_rng(2)
images = random.standard_normal((8, 64, 64, 3), dtype="float32")
corners = random.uniform(0, 30, (8, 3, 2)).astype("float32")
boxes = np.concatenate([corners, corners + random.uniform(8, 30, (8, 3, 2)).astype("float32")], axis=-1)
class_ids = random.integers(1, 3, (8, 3)).astype("int32")
class_ids[3:5, 1:] = -1
class_ids[5] = -1


truth = GroundTruth(boxes, class_ids)
history = model.fit(images, truth, batch_size=4, epochs=3, shuffle=False, verbose=0).history
weights = [keras.ops.convert_to_numpy(weight) for weight in detector.weights]
answer = {
    "history": history,
    "weights": float(sum(np.abs(weight).sum() for weight in weights)),
    "drop_path_seed": keras.ops.convert_to_numpy(detector.drop_path_seed.state).tolist(),
}
"""

SAVE = """
from pathlib import Path

folder = Path(sys.argv[1])
detector.save_weights(folder / "plain.weights.h5")
ways = {"save_weights": lambda model: model.load_weights(folder / "plain.weights.h5")}
for format, name in (("keras", "ours.weights.h5"), ("h5", "automls.h5")):
    path = efficientdet.save_checkpoint(detector, folder / name, format=format)
    ways[format] = lambda model, path=path: efficientdet.load_checkpoint(model, path, skip_mismatch=False)
answer["comes_back"] = {}
for way, load in ways.items():
    fresh = efficientdet.build_model(config)
    load(fresh)
    loaded = [keras.ops.convert_to_numpy(weight) for weight in fresh.weights]
    answer["comes_back"][way] = all(np.array_equal(*pair) for pair in zip(loaded, weights, strict=True))
"""

PRINT = "print(json.dumps(answer))"


def answer_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def on_jax(jax_python: str, run_on: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return answer_of(run_on("jax", jax_python, TRAIN + SAVE + PRINT, str(tmp_path_factory.mktemp("kept"))))


def test_fit_gives_the_same_losses_on_both_backends(on_jax: dict[str, Any], run_on: Start) -> None:
    on_tensorflow = answer_of(run_on("tensorflow", sys.executable, TRAIN + PRINT))
    assert on_jax["history"].keys() == on_tensorflow["history"].keys()
    assert {"loss", "class_loss", "box_loss", "box_iou_loss", "reg_l2_loss"} == on_jax["history"].keys()
    for name, losses in on_tensorflow["history"].items():
        assert len(set(losses)) == 3, name
        assert on_jax["history"][name] == pytest.approx(losses, rel=1e-4), name
    assert on_jax["weights"] == pytest.approx(on_tensorflow["weights"], rel=1e-5)
    assert on_jax["drop_path_seed"] == on_tensorflow["drop_path_seed"] == [5, 6]


def test_fit_without_tensorflow_saves_and_loads_checkpoints(on_jax: dict[str, Any]) -> None:
    assert on_jax["comes_back"] == {"save_weights": True, "keras": True, "h5": True}
