"""A detector as one GraphDef file, its weights inside as constants."""

from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet_pipeline.export.serving import ServedDetector

INPUT = "images"
OUTPUTS = ("Identity", "Identity_1", "Identity_2", "Identity_3")
"""Boxes, scores, class ids, their number; names that automl's frozen graphs have."""


def write_frozen_graph(served: ServedDetector, path: Path) -> None:
    """Writes the serving graph, readable by TensorFlow 1's import_graph_def too."""
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
        # Freezing names the outputs after whatever stands last; these names are the contract.
        for name, output in zip(OUTPUTS, outputs, strict=True):
            tf.identity(output, name=name)
    # Freezing leaves placeholders behind that nothing reads, more of them after a training than after a load.
    return tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [INPUT, *OUTPUTS])
