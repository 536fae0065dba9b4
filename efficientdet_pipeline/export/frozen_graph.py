"""Export as a frozen graph: one GraphDef file with the weights as constants."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet_pipeline.export.serving import ServedDetector

INPUT = "images"
OUTPUTS = ("Identity", "Identity_1", "Identity_2", "Identity_3")
"""Boxes, scores, class ids, their number; the output names of automl's frozen graphs."""
MAP_OUTPUT = "Identity_4"
"""Class of each pixel, of a network with the head segmentation."""


def write_frozen_graph(served: ServedDetector, path: Path) -> None:
    """Writes the serving graph, which TensorFlow 1's import_graph_def can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(frozen_graph_def(served).SerializeToString(deterministic=True))


def frozen_graph_def(served: ServedDetector) -> tf.compat.v1.GraphDef:
    """Returns `images:0` → `Identity:0` … `Identity_3:0`, and `Identity_4:0` of a map, as a graph without variables."""
    outputs = (*OUTPUTS, MAP_OUTPUT) if served.has_map else OUTPUTS
    return constant_graph(served.serve.get_concrete_function(), outputs)


def constant_graph(function: Any, outputs: Sequence[str]) -> tf.compat.v1.GraphDef:
    """Returns a function of uint8 images (b, h, w, 3) as a graph without variables.

    Args:
      function: concrete, of one input.
      outputs: names of its outputs in the graph, in their order.
    """
    frozen = convert_variables_to_constants_v2(function)
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.uint8, (None, None, None, 3), name=INPUT)
        results = tf.graph_util.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={frozen.inputs[0].name: images},
            return_elements=[output.name for output in frozen.outputs],
            name="detector",
        )
        # Freezing names the outputs after whatever stands last; these names are the contract.
        for name, result in zip(outputs, results, strict=True):
            tf.identity(result, name=name)
    # Freezing leaves placeholders behind that nothing reads, more of them after a training than after a load.
    return tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [INPUT, *outputs])
