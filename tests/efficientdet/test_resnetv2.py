"""Tests of ResNetV2 against a numpy reference of timm's, with weights from timm's files."""

import pickle
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
from efficientdet.backbones.resnetv2 import VARIANTS, ResNetV2Part, make_divisible
from efficientdet.backbones.timm_weights import load_timm_resnetv2, read_state_dict, timm_names
from efficientdet.backbones.weight_standardized import NORMS
from efficientdet.errors import CheckpointError
from keras import ops
from weights_writer import WeightsWriter

SMALL = {"nb_blocks": (2, 1, 1, 1), "nb_channels": (128, 128, 256, 128), "stem_width": 32, "input_size": (64, 64)}


def state_dict(part: ResNetV2Part) -> dict[str, np.ndarray]:
    """Returns procedural weights with timm's names and PyTorch's layout."""
    random = np.random.RandomState(3)
    network = part.build()
    network.build((None, 64, 64, 3))
    state = {}
    for name, variable in timm_names(network).items():
        shape = tuple(variable.shape)
        shape = (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape
        state[name] = random.normal(1.0 if name.endswith("norm.weight") else 0.0, 0.7, shape).astype(np.float32)
    return state


def conv(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """PyTorch's padded convolution of (c, h, w), with timm's weight standardization."""
    out_channels, _, side, _ = weight.shape
    flat = weight.reshape(out_channels, -1).astype(np.float64)
    flat = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-8)
    weight, pad = flat.reshape(weight.shape), (side - 1) // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))[:, ::stride, ::stride]
    return np.einsum("cijhw,ochw->oij", windows, weight)


def norm_relu(x: np.ndarray, state: dict, scope: str) -> np.ndarray:
    groups = x.reshape(32, -1)
    groups = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + 1e-5)
    x = groups.reshape(x.shape) * state[f"{scope}.weight"][:, None, None] + state[f"{scope}.bias"][:, None, None]
    return np.maximum(x, 0)


def reference(image: np.ndarray, state: dict, part: ResNetV2Part) -> list[np.ndarray]:
    """timm's forward_features of a pre-activation ResNetV2 with a fixed stem, (c, h, w) of each stage."""
    x = np.pad(conv(image, state["stem.conv.weight"], 2), ((0, 0), (1, 1), (1, 1)))
    x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max((3, 4))
    stages = []
    for stage, blocks in enumerate(part.nb_blocks):
        for block in range(blocks):
            scope = f"stages.{stage}.blocks.{block}"
            stride = 2 if stage and not block else 1
            y = norm_relu(x, state, f"{scope}.norm1")
            shortcut = x if block else conv(y, state[f"{scope}.downsample.conv.weight"], stride)
            y = norm_relu(conv(y, state[f"{scope}.conv1.weight"]), state, f"{scope}.norm2")
            y = norm_relu(conv(y, state[f"{scope}.conv2.weight"], stride), state, f"{scope}.norm3")
            x = shortcut + conv(y, state[f"{scope}.conv3.weight"])
        stages.append(x)
    stages[-1] = norm_relu(x, state, "norm")
    return stages


def save(path: Path, state: dict[str, np.ndarray]) -> None:
    if path.suffix == ".npz":
        np.savez(path, **state)
    elif path.suffix == ".pth":
        WeightsWriter().zipped(path, {name: np.ascontiguousarray(array) for name, array in state.items()})
    else:
        WeightsWriter().safetensors(path, state)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_resnetv2_equals_timm(tmp_path: Path, suffix: str) -> None:
    part = ResNetV2Part(**SMALL)
    state = state_dict(part)
    head = {"head.fc.weight": np.zeros((10, 128, 1, 1), np.float32), "head.fc.bias": np.zeros(10, np.float32)}
    path = tmp_path / f"weights{suffix}"
    save(path, state | head)
    network = ResNetV2Part(**SMALL, weights=str(path)).build()
    network.build((None, 64, 64, 3))
    image = np.random.RandomState(0).normal(size=(64, 48, 3)).astype(np.float32)
    pyramid = network(image[None])
    assert {level: x.shape[1:] for level, x in pyramid.items()} == {
        2: (16, 12, 128), 3: (8, 6, 128), 4: (4, 3, 256), 5: (2, 2, 128)
    }  # fmt: skip
    for level, expected in enumerate(reference(image.transpose(2, 0, 1), state, part), start=2):
        values = ops.convert_to_numpy(pyramid[level])[0].transpose(2, 0, 1)
        np.testing.assert_allclose(values, expected, atol=2e-4 * np.abs(expected).max())


def test_load_timm_resnetv2_refuses_other_networks(tmp_path: Path) -> None:
    part = ResNetV2Part(**SMALL)
    state = state_dict(part)
    network = part.build()
    network.build((None, 64, 64, 3))
    before = ops.convert_to_numpy(network.stem_conv.kernel)
    lacking, wide = dict(state), dict(state)
    lacking.pop("norm.bias")
    wide["stem.conv.weight"] = np.zeros((64, 3, 7, 7), np.float32)
    broken = state | {"norm.bias": np.full(128, np.nan, np.float32)}
    for name, content, message in (
        ("lacking", lacking, "It lacks norm.bias and also has nothing"),
        ("wide", wide, r"stem.conv.weight must have the shape \(7, 7, 3, 32\)"),
        ("broken", broken, "must contain only finite numbers. norm.bias has non-finite values"),
    ):
        save(tmp_path / f"{name}.npz", content)
        with pytest.raises(CheckpointError, match=message):
            load_timm_resnetv2(network, str(tmp_path / f"{name}.npz"))
    np.testing.assert_array_equal(ops.convert_to_numpy(network.stem_conv.kernel), before)


def test_read_state_dict_names_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No weights file .*none.npz"):
        read_state_dict(tmp_path / "none.npz")
    for name, message in (
        ("a.txt", "must be a .npz, .safetensors or .pth"),
        ("a.npz", "must be a complete checkpoint"),
    ):
        (tmp_path / name).write_bytes(b"\x00" * 20)
        with pytest.raises(CheckpointError, match=message):
            read_state_dict(tmp_path / name)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 40))
    with pytest.raises(CheckpointError, match="its header takes 1,099,511,627,776 bytes"):
        read_state_dict(tmp_path / "a.safetensors")
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"stem.conv.weight": Path("x")}))
    with pytest.raises(CheckpointError, match=r"must contain only tensors.* nothing of it was executed"):
        read_state_dict(tmp_path / "a.pth")


def test_resnetv2_variants_have_the_published_sizes() -> None:
    assert len(VARIANTS) == 15
    wide = VARIANTS["resnetv2_152x4_bitm"]
    assert (wide.nb_blocks, wide.width_factor, wide.input_size) == ((3, 8, 36, 3), 4, (480, 480))
    assert VARIANTS["resnetv2_50x1_bit_distilled"].input_size == (224, 224)
    assert make_divisible(64 * 0.25) == 16
    part = VARIANTS["resnetv2_50x1_bitm"]
    network = part.build()
    network.build((None, 64, 64, 3))
    # timm's resnetv2_50x1_bitm without its classifier of 1,000 classes.
    assert sum(int(np.prod(weight.shape)) for weight in network.weights) == 25_549_352 - 2048 * 1000 - 1000


@pytest.mark.parametrize("norm_layer", NORMS)
def test_resnetv2_with_every_norm_learns(norm_layer: str) -> None:
    part = ResNetV2Part(**SMALL, norm_layer=norm_layer, preact=norm_layer != "batch_norm", stem_type="same",
                        conv_padding="same", drop_path_rate=0.2)  # fmt: skip
    network = part.build()
    network.build((None, 64, 64, 3))
    assert [block.drop_path is not None for stage in network.stages for block in stage] == [False] + [True] * 4
    maps = network(np.ones((2, 64, 64, 3), np.float32), seed=np.uint32([1, 2]), training=True)
    assert all(np.isfinite(ops.convert_to_numpy(x)).all() for x in maps.values())
    assert network.channels == {level: x.shape[-1] for level, x in maps.items()}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"norm_layer": "group"}, "Unknown norm_layer 'group'. Did you mean group_norm"),
        ({"act_layer": "swich"}, "Unknown act_layer 'swich'"),
        ({"stem_type": "big"}, "Unknown stem_type 'big'"),
        ({"url": "timm"}, "url='timm' is not supported; download the weights"),
        ({"nb_blocks": (0, 1, 1, 1)}, "must be 1 or more"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be from 0 to below 1"),
    ],
)
def test_resnetv2_part_refuses(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNetV2Part(**fields)


def test_resnetv2_group_norm_refuses_channels_that_it_cannot_divide() -> None:
    with pytest.raises(ValueError, match=r"divides channels into 32 groups. Received 20 channels"):
        NORMS["group_norm"]("norm").build((None, 4, 4, 20))
    assert isinstance(NORMS[""]("norm"), keras.layers.Layer)
