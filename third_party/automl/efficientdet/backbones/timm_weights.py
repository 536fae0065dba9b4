"""Loader of timm's ResNetV2 weights from a local file."""

import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from efficientdet.backbones.resnetv2 import ResNetV2
from efficientdet.checkpoint.pickle_data import ForeignObjectError
from efficientdet.checkpoint.reader import reading
from efficientdet.checkpoint.safetensors_file import read_safetensors
from efficientdet.checkpoint.torch_file import read_torch, state_dict_of, zip_errors
from efficientdet.errors import CheckpointError

_TORCH_SUFFIXES = (".pth", ".pt", ".bin")


def load_timm_resnetv2(backbone: ResNetV2, path: str) -> None:
    """Loads all weights of a built ResNetV2 from a state dict of timm's `resnetv2` models.

    The classifier (`head.`) and counters of batches are ignored; everything else must match.

    Args:
      backbone: the network.
      path: .npz with the names of the state dict, .safetensors, or .pth.

    Raises:
      FileNotFoundError: the file does not exist.
      CheckpointError: the file is unreadable or belongs to another network; the weights are unchanged.
    """
    state = read_state_dict(Path(path))
    targets = timm_names(backbone)
    is_ignored = re.compile(r"head\.|.*\.num_batches_tracked$").match
    given = {name: array for name, array in state.items() if not is_ignored(name)}
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
    """Returns the arrays in a file of PyTorch weights by name; PyTorch is not needed, and nothing is executed.

    Raises:
      FileNotFoundError: the file does not exist.
      CheckpointError: the format is unknown, or the file is damaged or has more than tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No weights file {path} (backbone.weights).")
    if path.suffix not in (".npz", ".safetensors", *_TORCH_SUFFIXES):
        raise CheckpointError(f"Weights must be a .npz, .safetensors or .pth file. Received {str(path)!r}.")
    try:
        with reading(path), zip_errors():
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return {name: arrays[name] for name in arrays.files}
            with path.open("rb") as file:
                is_torch = path.suffix in _TORCH_SUFFIXES
                tensors = state_dict_of(read_torch(file) if is_torch else read_safetensors(file).tensors)
                return {name: tensor.read() for name, tensor in tensors.items()}
    except ForeignObjectError as error:
        raise CheckpointError(
            f"{path} must contain only tensors, as torch.save(model.state_dict(), …) writes them. It has {error.what}; "
            "nothing of it was executed."
        ) from error


def _few(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
