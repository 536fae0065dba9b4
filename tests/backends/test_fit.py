"""One `fit` gives the same losses on TensorFlow and on JAX, and JAX gets along without TensorFlow."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., subprocess.CompletedProcess[str]]

# A few hundred numbers a layer, and everything that draws or keeps state: drop path in backbone and heads, batch
# statistics, metrics, an image without objects.
LEARN = """
import json
import sys
import efficientdet
import keras
import numpy as np
from efficientdet.learner import Learner
from efficientdet.losses import LossOptions
from efficientdet.types import GroundTruth

stages = ["r1_k3_s11_e1_i32_o8_se0.25", "r2_k3_s22_e1_i8_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 3]
keras.utils.set_random_seed(1)
config = efficientdet.get_config(
    "efficientdet-d0",
    image_size=64,
    num_classes=2,
    fpn_cell_repeats=1,
    fpn_num_filters=8,
    box_class_repeats=2,
    survival_prob=0.5,
    backbone_config={"blocks": stages},
)
detector = efficientdet.build_model(config)
detector.set_drop_path(5, 0)
learner = Learner(detector, config, LossOptions(iou_loss_type="ciou"))
learner.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=False)

random = np.random.default_rng(2)
images = random.standard_normal((8, 64, 64, 3), dtype="float32")
corners = random.uniform(0, 30, (8, 3, 2)).astype("float32")
boxes = np.concatenate([corners, corners + random.uniform(8, 30, (8, 3, 2)).astype("float32")], axis=-1)
class_ids = random.integers(1, 3, (8, 3)).astype("int32")
class_ids[3:5, 1:] = -1
class_ids[5] = -1


def fit(epochs):
    truth = GroundTruth(boxes, class_ids)
    return learner.fit(images, truth, batch_size=4, epochs=epochs, shuffle=False, verbose=0).history
"""

LOSSES = """
history = fit(epochs=3)
state = np.concatenate([np.ravel(keras.ops.convert_to_numpy(weight)) for weight in detector.weights])
drawn = keras.ops.convert_to_numpy(detector.drop_path_seed.state).tolist()
print(json.dumps({"history": history, "weights": float(np.abs(state).sum()), "drop_path_seed": drawn}))
"""

KEPT = """
from pathlib import Path

before = keras.ops.convert_to_numpy(detector.trainable_weights[0])
fit(epochs=1)
trained = [keras.ops.convert_to_numpy(weight) for weight in detector.weights]
folder = Path(sys.argv[1])
detector.save_weights(folder / "plain.weights.h5")
ways = {"save_weights": lambda model: model.load_weights(folder / "plain.weights.h5")}
for format, name in (("keras", "ours.weights.h5"), ("h5", "automls.h5")):
    path = efficientdet.save_checkpoint(detector, folder / name, format=format)
    ways[format] = lambda model, path=path: efficientdet.load_checkpoint(model, path, skip_mismatch=False)
same = {}
for way, load in ways.items():
    fresh = efficientdet.build_model(config)
    load(fresh)
    loaded = [keras.ops.convert_to_numpy(weight) for weight in fresh.weights]
    same[way] = all(np.array_equal(*pair) for pair in zip(loaded, trained, strict=True))
print(json.dumps({"learned": bool((before != trained[0]).any()), "same": same}))
"""


def told(result: subprocess.CompletedProcess[str]) -> dict:
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_fit_gives_the_same_losses_on_both_backends(jax_python: str, run_on: Start) -> None:
    on_tensorflow = told(run_on("tensorflow", sys.executable, LEARN + LOSSES))
    on_jax = told(run_on("jax", jax_python, LEARN + LOSSES))
    assert on_jax["history"].keys() == on_tensorflow["history"].keys()
    assert {"loss", "class_loss", "box_loss", "box_iou_loss", "reg_l2_loss"} == on_jax["history"].keys()
    for name, losses in on_tensorflow["history"].items():
        assert len(set(losses)) == 3, name
        assert on_jax["history"][name] == pytest.approx(losses, rel=1e-4), name
    assert on_jax["weights"] == pytest.approx(on_tensorflow["weights"], rel=1e-5)
    assert on_jax["drop_path_seed"] == on_tensorflow["drop_path_seed"] == [5, 6]


def test_what_jax_learned_is_kept_and_read_again(jax_python: str, run_on: Start, tmp_path: Path) -> None:
    told_by_jax = told(run_on("jax", jax_python, LEARN + KEPT, str(tmp_path)))
    assert told_by_jax == {"learned": True, "same": {"save_weights": True, "keras": True, "h5": True}}
