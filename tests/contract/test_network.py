"""The network computes google/automl's numbers, whatever is configured.

golden/net/*.json.gz were recorded by running google/automl at 6a54c87 under
TensorFlow 2.15.1, float32, on a CPU. Weights are procedural, keyed by a
variable's name alone; the input is random; inference mode.
"""

import gzip
import importlib.util
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from efficientdet.automl.hparams import model_hparams
from efficientdet.automl.variable_names import variable_names
from efficientdet.config import get_config
from efficientdet.model import build_model
from keras import ops

GOLDEN = Path(__file__).parent / "golden" / "net"
CASES = ("d0", "d0_20cls", "d0_convafter", "d0_odd", "d0_rect", "d0_seg", "d0_sum", "d1", "d3", "lite0")
TOLERANCE = 2e-5  # of the largest value of a level


def golden(name: str) -> dict[str, Any]:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()))


def procedural_weight(name: str, shape: tuple[int, ...], kernel_gain: float) -> np.ndarray:
    """Returns the weight that the golden files' recipe gives a variable of this name."""
    random, leaf = np.random.RandomState(zlib.crc32(name.encode())), name.rsplit("/", 1)[-1]
    if leaf.endswith("kernel"):
        fan = np.prod(shape[:2]) if leaf == "depthwise_kernel" else np.prod(shape[:-1])
        value = random.standard_normal(shape) * np.sqrt(kernel_gain / max(fan, 1))
    elif leaf in ("bias", "beta", "moving_mean"):
        value = 0.1 * random.standard_normal(shape)
    elif leaf == "gamma":
        value = (1 + 0.1 * random.standard_normal(shape)) * np.where(random.uniform(size=shape) < 0.2, -1, 1)
    elif leaf == "moving_variance":
        value = random.uniform(0.5, 1.5, shape)
    else:
        value = random.uniform(-0.2, 1.1, shape)
    return np.asarray(value, np.float32)


@pytest.mark.parametrize("name", CASES)
def test_names_shapes_and_outputs(name: str) -> None:
    case = golden(name)
    sizes = {"image_size": case["image_size"], "num_classes": case["num_classes"]}
    config = get_config(case["model"], **sizes, **case["overrides"])
    model = build_model(config)
    names = variable_names(model)
    assert {variable: list(weight.shape) for variable, weight in names.items()} == case["variables"]
    assert model.count_params() == case["num_params"]

    for variable, weight in names.items():
        weight.assign(procedural_weight(variable, tuple(weight.shape), case["kernel_gain"]))
    images = np.random.RandomState(0).uniform(-2, 2, (1, *config.image_size, 3)).astype(np.float32)
    outputs = model(images, training=False)

    for key, expected in case["outputs"].items():
        kind, index = key.split("_")
        level = config.min_level + int(index)
        tensor = outputs["segmentation"] if kind == "seg" else outputs[kind][level]
        values = ops.convert_to_numpy(tensor)
        assert list(values.shape) == expected["shape"], key
        close = {"rtol": 0, "atol": TOLERANCE * expected["absmax"], "err_msg": key}
        places = np.random.RandomState(1).randint(0, values.size, 96)
        np.testing.assert_allclose(values.reshape(-1)[places], expected["sample"], **close)
        summary = [values.mean(), values.std(), np.abs(values).max()]
        np.testing.assert_allclose(summary, [expected[key] for key in ("mean", "std", "absmax")], **close)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="the whole page is running on JAX already")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed (pip install .[jax])")
def test_on_jax_too() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "d0_20cls or lite0"]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:]


def test_hparams_of_every_model() -> None:
    table = golden("model_table")["model_table"]
    assert len(table) == 15
    for name, expected in table.items():
        assert model_hparams(name) == expected, name
