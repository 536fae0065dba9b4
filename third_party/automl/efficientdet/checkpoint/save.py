"""Saving of a model's weights to a checkpoint in automl's or our own formats, atomically."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import keras
import numpy as np

from efficientdet.automl.object_paths import object_paths
from efficientdet.automl.variable_names import variable_names
from efficientdet.checkpoint.tf_bundle import AVERAGE, tensorflow_for
from efficientdet.model import Detector

_DEFAULT_NAME = {"keras": "model.weights.h5", "h5": "model.h5", "tf1": "model"}
_STATISTICS = ("/moving_mean", "/moving_variance")


def save_checkpoint(model: Detector, path: str | os.PathLike[str], *, format: str = "keras") -> Path:
    """Writes the model's weights and returns the path for `load_checkpoint`.

    Args:
      model: from `build_model`.
      path: the file; for tf1 the prefix of its two files. In a folder the file is
        named model.
      format: keras, our own (`.weights.h5`); h5, automl's Keras file; or tf1,
        automl's name-based checkpoint with a moving average of each variable,
        equal to the variable, and the `checkpoint` file that automl requires.

    Raises:
      ValueError: an unknown format, or a file name that Keras does not accept
        for this format.
    """
    if format not in _DEFAULT_NAME:
        raise ValueError(f"format must be one of {', '.join(_DEFAULT_NAME)}. Received {format!r}.")
    path = Path(path).expanduser()
    if path.is_dir():
        path /= _DEFAULT_NAME[format]
    suffix = {"keras": ".weights.h5", "h5": ".h5", "tf1": ""}[format]
    if not path.name.endswith(suffix):
        raise ValueError(f"A file of format {format!r} must end in {suffix}. Received {str(path)!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        _WRITERS[format](model, fresh)
        if format == "tf1":
            # A bundle without an index does not exist, so new data are never read with the old index.
            Path(f"{path}.index").unlink(missing_ok=True)
        # The index is the last of the bundle's files, and the state file that names the bundle comes after it.
        for written in sorted(Path(folder).iterdir(), key=lambda file: (file.name == "checkpoint", file.suffix)):
            os.replace(written, path.with_name(written.name))
    return path


def _write_keras(model: Detector, path: Path) -> None:
    model.save_weights(path)


def _write_tf1(model: Detector, prefix: Path) -> None:
    tf = tensorflow_for(prefix)
    entries: dict[str, np.ndarray] = {"global_step": np.asarray(0, "int64")}
    for name, values in _values(model).items():
        entries[name] = entries[name + AVERAGE] = values
    names = sorted(entries)
    with tf.device("CPU"):
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(entries[name]) for name in names],
        )
    # Relative, so that the folder may be moved.
    state = f'model_checkpoint_path: "{prefix.name}"\nall_model_checkpoint_paths: "{prefix.name}"\n'
    prefix.with_name("checkpoint").write_text(state, encoding="utf-8")


def _write_h5(model: Detector, path: Path) -> None:
    """Writes the layout of Keras 2: a group for each of automl's layers, its weights in order of creation."""
    values = _values(model)
    config = model.config
    order = creation_order(model)
    layers = [config.backbone_name]
    layers += [f"resample_p{level}" for level in range(6, config.max_level + 1)]
    layers += ["fpn_cells"]
    layers += ["class_net", "box_net"] if model.class_head is not None else []
    layers += ["segmentation_head"] if model.mask_head is not None else []
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = layers
        file.attrs["backend"] = "tensorflow"
        # Version of the layout; Keras 2 would convert the layout of an older version.
        file.attrs["keras_version"] = "2.15.0"
        for layer in (*layers, "top_level_model_weights"):
            names = [name for name in order if name.split("/", 1)[0] == layer]
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{name}:0" for name in names]
            for name in names:
                group.create_dataset(f"{name}:0", data=values[name])


def creation_order(model: Detector) -> list[str]:
    """Returns automl's names in the order in which automl creates the variables, trainable ones first.

    Keras 2 loads a file in this order and not by name.
    """
    names = list(variable_names(model))
    paths = object_paths(names, backbone_name=model.config.backbone_name, min_level=model.config.min_level)
    return sorted(names, key=lambda name: (name.endswith(_STATISTICS), *_position(paths.get(name) or name)))


# Order of creation among the attributes of one layer.
_MADE_IN_ORDER = (
    *("_blocks", "_stem", "_conv_stem", "_bn"),
    *("_expand_conv", "_bn0", "_fused_conv", "_depthwise_conv", "_bn1", "_se", "_project_conv", "_bn2"),
    *("_se_reduce", "_se_expand"),
    *("WSM", "resample_layers", "op_after_combine"),
    *("conv_ops", "bns", "classes", "boxes", "con2d_ts", "con2d_t_bns", "head_transpose"),
    *("conv2d", "conv_op", "bn"),
    *("depthwise_kernel", "pointwise_kernel", "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"),
)
_RANK = {word: rank for rank, word in enumerate(_MADE_IN_ORDER)}


def _position(path: str) -> list[tuple[int, int]]:
    steps = path.replace("WSM_", "WSM/").split("/")
    return [(_RANK.get(step, len(_RANK)), int(step) if step.isdigit() else 0) for step in steps]


def _values(model: Detector) -> Mapping[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in variable_names(model).items()}


_WRITERS: dict[str, Callable[[Detector, Path], None]] = {"keras": _write_keras, "tf1": _write_tf1, "h5": _write_h5}
