"""A detector as a SavedModel folder."""

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from efficientdet_pipeline.export.serving import ServedDetector


def write_saved_model(served: ServedDetector, folder: Path) -> None:
    """Writes the folder with the signatures that automl's export has.

    serving_default: `images` uint8 (b, h, w, 3) → `output_0` boxes, `output_1`
    scores, `output_2` class ids, `output_3` their number.
    predict: `images` float32, normalised, of the canvas's size → `output_0` … the
    class logits of each level, then the box deltas of each.
    """
    # Concrete, because tf.saved_model.save traces a plain tf.function once more.
    signatures = {
        "serving_default": served.serve.get_concrete_function(),
        "predict": served.predict.get_concrete_function(),
    }
    # Tracing a gradient for each swish would take longer than all the rest, and nobody trains a served model.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(served, str(folder), signatures=signatures, options=options)
    _forget_custom_gradients(folder / "saved_model.pb")


def _forget_custom_gradients(path: Path) -> None:
    """Takes away the notes on gradients that are not there, of which every loading program would be warned."""
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta_graph in saved.meta_graphs:
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                node.attr.pop("_gradient_op_type", None)
    path.write_bytes(saved.SerializeToString(deterministic=True))
