"""TensorFlow bundles: an index and data shards, with either of automl's two naming schemes.

TF1 files have the names of `automl.variable_names`, and a moving average for each
variable; TF2 files have the paths of `automl.object_paths`.
"""

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from efficientdet.automl.object_paths import SUFFIX, hub_path, object_paths
from efficientdet.automl.variable_names import variable_names
from efficientdet.checkpoint.reader import Contents, Shape, reading
from efficientdet.errors import CheckpointError
from efficientdet.model import Detector

AVERAGE = "/ExponentialMovingAverage"
"""Suffix of the name of a variable's moving average in a TF1 file."""

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SLOT = "/.OPTIMIZER_SLOT/"
_COUNTERS = {"global_step", "save_counter", "beta1_power", "beta2_power"}


def tensorflow_for(prefix: Path) -> Any:
    """Returns the TensorFlow module, imported for this bundle.

    Raises:
      CheckpointError: TensorFlow is not installed, as on a machine with only JAX.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise CheckpointError(
            f"{prefix.name} is a TensorFlow bundle; reading or writing it needs TensorFlow, which is not installed "
            "here. The formats keras and h5 do not need it; convert with save_checkpoint where TensorFlow is installed."
        ) from error
    return tf


def read_bundle(prefix: Path, model: Detector, *, use_average: bool) -> Contents:
    """Returns the content of the bundle `<prefix>.index`.

    Args:
      prefix: path without `.index`.
      model: whose variables are read.
      use_average: whether the moving averages of a TF1 file, including those of
        batch-norm statistics, are read instead of the raw values.

    Raises:
      CheckpointError: it is damaged.
    """
    tf = tensorflow_for(prefix)

    def guarded(function: Any, *arguments: Any) -> Any:
        with reading(prefix):
            try:
                return function(*arguments)
            except tf.errors.OpError as error:
                raise ValueError(error.message) from error

    if set("*?[") & set(str(prefix)):
        raise CheckpointError(
            f"The path of a TensorFlow bundle must be without the characters * ? [, which TensorFlow expands. "
            f"Received {str(prefix)!r}; rename the folder."
        )
    if not list(prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*")):
        raise CheckpointError(
            f"{prefix}.index names the variables, and {prefix.name}.data-00000-of-00001 next to it must have their "
            "values. It does not exist; copy it too."
        )
    reader = guarded(tf.train.load_checkpoint, str(prefix))
    shapes = {key: tuple(shape) for key, shape in guarded(reader.get_variable_to_shape_map).items()}
    dtypes = guarded(reader.get_variable_to_dtype_map)
    shapes = {key: shape for key, shape in shapes.items() if dtypes[key].is_floating or key in _COUNTERS}

    def read(key: str) -> np.ndarray:
        return guarded(reader.get_tensor, key)

    is_object_based = _OBJECT_GRAPH in dtypes
    return _object_based(shapes, read, model) if is_object_based else _name_based(shapes, read, model, use_average)


def _name_based(shapes: Mapping[str, Shape], read: Any, model: Detector, use_average: bool) -> Contents:
    # An average without its raw value is a variable as well.
    weights = {key.removesuffix(AVERAGE): shape for key, shape in shapes.items() if key.endswith(AVERAGE)}
    weights |= {key: shape for key, shape in shapes.items() if not key.endswith(AVERAGE)}
    # Names below that of a variable are optimizer slots.
    weights = {key: shape for key, shape in weights.items() if key.rpartition("/")[0] not in weights}
    weights = {key: shape for key, shape in weights.items() if key not in _COUNTERS}
    averaged = {key for key in weights if key + AVERAGE in shapes and (use_average or key not in shapes)}
    return Contents(
        format="TF1",
        shapes={key: shapes[key + AVERAGE] if key in averaged else shape for key, shape in weights.items()},
        keys={name: name for name in variable_names(model) if name in weights},
        read=lambda key: read(key + AVERAGE if key in averaged else key),
        averaged=averaged,
    )


def _object_based(shapes: Mapping[str, Shape], read: Any, model: Detector) -> Contents:
    # Slots named `average` are not read, as in automl: the weights of an emackpt-N already are the averages, and there
    # are no slots for batch-norm statistics, and zeros for frozen variables.
    weights = {
        key.removesuffix(SUFFIX): shape
        for key, shape in shapes.items()
        if key.endswith(SUFFIX) and _SLOT not in key and key.split("/", 1)[0] not in {"optimizer", *_COUNTERS}
    }
    names = variable_names(model)
    paths = object_paths(names, backbone_name=model.config.backbone_name, min_level=model.config.min_level)
    keys = {name: path for name, path in paths.items() if path in weights}
    if not keys:
        keys = {name: hub_path(name) for name in names if hub_path(name) in weights}
    return Contents(format="TF2", shapes=weights, keys=keys, read=lambda key: read(key + SUFFIX))
