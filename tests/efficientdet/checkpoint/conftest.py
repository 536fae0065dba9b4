"""Fixtures: a network with a few hundred weights per layer, and weights files in the formats of other libraries."""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.config import DetectorConfig, get_config
from weights_writer import WeightsWriter

STAGES = ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e2_i8_o8_se0.25"] * 3, "r1_k3_s22_e2_i8_o16_se0.25"]
SMALL = {
    "num_classes": 3,
    "image_size": 64,
    "fpn_num_filters": 8,
    "fpn_cell_repeats": 1,
    "box_class_repeats": 2,
    "backbone_config": {"blocks": STAGES},
}


@pytest.fixture(scope="session")
def small_config() -> DetectorConfig:
    return get_config("efficientdet-d0", **SMALL)


@pytest.fixture(scope="session")
def small_model(small_config: DetectorConfig) -> Any:
    from efficientdet.model import build_model

    return build_model(small_config)


@pytest.fixture(scope="session")
def other_classes_model(small_config: DetectorConfig) -> Any:
    from efficientdet.model import build_model

    return build_model(small_config.override({"num_classes": 5}))


@pytest.fixture(scope="session")
def writer() -> WeightsWriter:
    return WeightsWriter()


def procedural_value(key: str, shape: Sequence[int]) -> np.ndarray:
    """Returns values that depend only on the key and keep activations in range."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype("float32")
    if key.endswith("running_var"):
        return (0.5 + values * values * 0.5).astype("float32")
    if key.endswith(("running_mean", "bias")):
        return (0.1 * values).astype("float32")
    if len(shape) == 1:
        return (1 + 0.1 * values).astype("float32")
    return (values / np.float32(np.sqrt(np.prod(shape[1:])))).astype("float32")


@pytest.fixture(scope="session")
def torch_golden() -> Any:
    """Returns outputs recorded from PyTorch; `source` in the file names the networks."""
    path = Path(__file__).resolve().parents[2] / "contract/golden/torch_efficientnets.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="session")
def state_dict(torch_golden: Any) -> Any:
    """Returns a function that builds a state dict of a network with a library's names."""

    def build(network: str) -> dict[str, np.ndarray]:
        shapes = torch_golden["procedural"][network]["shapes"]
        return {key: procedural_value(key, shape) for key, shape in shapes}

    return build


@pytest.fixture
def tiny_backbones(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replaces all backbones by small ones with a few thousand weights, for tests of files."""
    from efficientdet.backbones import stages
    from efficientdet.checkpoint import layouts

    tiny = ["r1_k3_s11_e1_i32_o16_se0.25", "r2_k3_s22_e2_i16_o24_se0.25"]
    monkeypatch.setattr(layouts, "block_specs", lambda name: stages.block_specs(name, tiny))
    monkeypatch.setattr(layouts, "HEAD_FILTERS", 8)
    layouts._variables.cache_clear()
    yield
    layouts._variables.cache_clear()


def tiny_state(layout_name: str, backbone: str, num_classes: int = 5) -> dict[str, np.ndarray]:
    """Returns the weights of a backbone by a library's names; with `tiny_backbones` those of the small one."""
    from efficientdet.checkpoint import layouts

    layout = next(each for each in layouts.LAYOUTS if each.name == layout_name)
    shapes = {each.key: [size or num_classes for size in each.shape] for each in layouts._variables(layout, backbone)}
    return {key: procedural_value(key, shape) for key, shape in shapes.items()}


@pytest.fixture
def state_of(tiny_backbones: None) -> Any:
    return tiny_state
