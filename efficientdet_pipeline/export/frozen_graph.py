"""Export as a frozen graph: one GraphDef file with the weights as constants."""

from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet_pipeline.export.serving import ServedDetector

INPUT = "images"
OUTPUTS = ("Identity", "Identity_1", "Identity_2", "Identity_3")
"""Boxes, scores, class ids, their number; the output names of automl's frozen graphs."""


def write_frozen_graph(served: ServedDetector, path: Path) -> None:
    """Writes the serving graph, which TensorFlow 1's import_graph_def can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(frozen_graph_def(served).SerializeToString(deterministic=True))


def frozen_graph_def(served: ServedDetector) -> tf.compat.v1.GraphDef:
    """Returns `images:0` → `Identity:0` … `Identity_3:0` as a graph without variables."""
    frozen = convert_variables_to_constants_v2(served.serve.get_concrete_function())
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.uint8, (None, None, None, 3), name=INPUT)
        outputs = tf.graph_util.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={frozen.inputs[0].name: images},
            return_elements=[output.name for output in frozen.outputs],
            name="detector",
        )
        # Freezing names the outputs after the last operations; these fixed names are the interface.
        for name, output in zip(OUTPUTS, outputs, strict=True):
            tf.identity(output, name=name)
    # Freezing leaves unused placeholders, more of them after a training than after loading.
    return tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [INPUT, *OUTPUTS])
