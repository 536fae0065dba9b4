"""TensorFlow's bundles: an index and shards of data, in automl's two ways of naming.

TF1 files name a variable as `names.variable_names` does and hold its moving
average beside it; TF2 files have the paths of `object_paths`.
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
"""Ends the name of a variable's moving average in a TF1 file."""

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SLOT = "/.OPTIMIZER_SLOT/"
_COUNTERS = {"global_step", "save_counter", "beta1_power", "beta2_power"}


def tensorflow_for(prefix: Path) -> Any:
    """Returns the module TensorFlow, imported for this bundle.

    Raises:
      CheckpointError: it is not installed, as on a machine with JAX alone.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise CheckpointError(
            f"{prefix.name} is a TensorFlow bundle, and to read or write one takes TensorFlow, which is not installed "
            "here. Files of the formats keras and h5 do without; save_checkpoint makes them where TensorFlow is."
        ) from error
    return tf


def read_bundle(prefix: Path, model: Detector, *, use_average: bool) -> Contents:
    """Returns what the bundle `<prefix>.index` holds.

    Args:
      prefix: path without `.index`.
      model: whose variables are looked for.
      use_average: whether a TF1 file's moving averages, those of batch-norm
        statistics included, are read in place of the raw values.

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
            f"The path of a TensorFlow bundle must be without the letters * ? [, which TensorFlow takes for a pattern. "
            f"Received {str(prefix)!r}; rename the folder."
        )
    if not list(prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*")):
        raise CheckpointError(
            f"{prefix}.index names the variables, and {prefix.name}.data-00000-of-00001 must lie beside it with their "
            "values. It is not there; copy it too."
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
    # A twin without its raw value is a variable as well.
    weights = {key.removesuffix(AVERAGE): shape for key, shape in shapes.items() if key.endswith(AVERAGE)}
    weights |= {key: shape for key, shape in shapes.items() if not key.endswith(AVERAGE)}
    # What lies under a variable's own name is a slot of some optimizer.
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
    # The slots called `average` stay unread, as automl leaves them: in an emackpt-N the weights already are the
    # averages, and slots have none of the batch-norm statistics and are zeros for frozen variables.
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
