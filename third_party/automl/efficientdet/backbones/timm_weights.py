"""Loader of timm's ResNetV2 weights from a local file."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from efficientdet.backbones.resnetv2 import ResNetV2
from efficientdet.errors import CheckpointError

_SAFETENSORS_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
_MAX_HEADER_BYTES = 100 << 20


def load_timm_resnetv2(backbone: ResNetV2, path: str) -> None:
    """Loads all weights of a built ResNetV2 from a state dict of timm's `resnetv2` models.

    The classifier (`head.`) is ignored; everything else must match.

    Args:
      backbone: the network.
      path: .npz with the names of the state dict, .safetensors, or .pth (which needs PyTorch).

    Raises:
      FileNotFoundError: the file does not exist.
      CheckpointError: the file is unreadable or belongs to another network; the weights are unchanged.
    """
    state = read_state_dict(Path(path))
    targets = timm_names(backbone)
    given = {name: array for name, array in state.items() if not name.startswith("head.")}
    missing, unknown = sorted(targets.keys() - given.keys()), sorted(given.keys() - targets.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{path} must hold the weights of this ResNetV2 (nb_blocks={backbone.part.nb_blocks}, "
            f"width_factor={backbone.part.width_factor}). It lacks {_few(missing)} and also has {_few(unknown)}."
        )
    values = {}
    for name, variable in targets.items():
        array = np.asarray(given[name], np.float32)
        # The axes of a PyTorch kernel are (out, in, height, width).
        values[name] = array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        if array.shape != tuple(variable.shape):
            raise CheckpointError(
                f"{path} belongs to another network: {name} must have the shape {tuple(variable.shape)} (height, "
                f"width, in, out). Received {array.shape}; compare nb_blocks, nb_channels and width_factor."
            )
        if not np.isfinite(array).all():
            raise CheckpointError(f"{path} must contain only finite numbers. {name} has non-finite values.")
    for name, variable in targets.items():
        variable.assign(values[name])


def timm_names(backbone: ResNetV2) -> dict[str, keras.Variable]:
    """Returns all weights of the network by their names in timm's state dict."""
    names: dict[str, keras.Variable] = {"stem.conv.weight": backbone.stem_conv.kernel}

    def add_norm(scope: str, norm: keras.layers.Layer | None) -> None:
        words = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        for variable in norm.weights if norm is not None else ():
            names[f"{scope}.{words[variable.name]}"] = variable

    add_norm("stem.norm", backbone.stem_norm)
    for stage, blocks in enumerate(backbone.stages):
        for index, block in enumerate(blocks):
            scope = f"stages.{stage}.blocks.{index}"
            for number, (conv, norm) in enumerate(zip(block.convs, block.norms, strict=True), start=1):
                names[f"{scope}.conv{number}.weight"] = conv.kernel
                add_norm(f"{scope}.norm{number}", norm)
            if block.shortcut is not None:
                names[f"{scope}.downsample.conv.weight"] = block.shortcut.kernel
                add_norm(f"{scope}.downsample.norm", block.shortcut_norm)
    add_norm("norm", backbone.norm)
    return names


def read_state_dict(path: Path) -> Mapping[str, np.ndarray]:
    """Returns the arrays in a file of PyTorch weights by name.

    Raises:
      FileNotFoundError: the file does not exist.
      CheckpointError: the format is unknown, the file is damaged, or it needs PyTorch, which is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No weights file {path} (backbone.weights).")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if path.suffix in (".pth", ".pt", ".bin"):
            return _read_torch(path)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise CheckpointError(f"{path} cannot be read as weights: {error}.") from error
    raise CheckpointError(f"Weights must be a .npz, .safetensors or .pth file. Received {str(path)!r}.")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    if size > min(len(data) - 8, _MAX_HEADER_BYTES):
        raise ValueError("its header is longer than the file")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    body = memoryview(data)[8 + size :]
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(body[start:end], "<u2").astype(np.uint32) << 16
            arrays[name] = bits.view(np.float32).reshape(entry["shape"])
        else:
            kind = _SAFETENSORS_TYPES[entry["dtype"]]
            arrays[name] = np.frombuffer(body[start:end], kind).reshape(entry["shape"])
    return arrays


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"{path} is a PyTorch file, and PyTorch is not installed: `pip install torch`, or save the state dict as "
            ".safetensors or .npz."
        ) from None
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.float().numpy() for name, tensor in state.items()}


def _few(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
