"""A program with TensorFlow and an export, without this project.

stranger.py SAVED_MODEL FROZEN_GRAPH FOLDER: answers FOLDER/photos.npz with saved_model.npz and
frozen_graph.npz, FOLDER/canvases.npy with predict.npz, and describes both in report.json.
"""

import json
import logging
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"


class Blocker:
    """Makes the import of this project fail, in case an export needs it."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"efficientdet", "efficientdet_pipeline", "tfrmod"}:
            raise ImportError(f"{name} is not here")


sys.meta_path.insert(0, Blocker())
import numpy as np  # noqa: E402 - after the blocker
import tensorflow as tf  # noqa: E402 - after the blocker


class Ear(logging.Handler):
    """Records warnings that a user would see."""

    heard: list[str] = []  # noqa: RUF012 - one list per program

    def emit(self, record):
        self.heard.append(record.getMessage())


def described(specs):
    return {name: [spec.dtype.name, spec.shape.as_list()] for name, spec in specs.items()}


saved_model, frozen_graph, folder = map(Path, sys.argv[1:])
tf.get_logger().addHandler(Ear(logging.WARNING))
logging.getLogger("absl").addHandler(Ear(logging.WARNING))
with np.load(folder / "photos.npz") as arrays:
    photos = [arrays[name] for name in arrays.files]

signatures = tf.saved_model.load(str(saved_model)).signatures
report = {
    name: {
        "inputs": described(signature.structured_input_signature[1]),
        "outputs": described(signature.structured_outputs),
    }
    for name, signature in signatures.items()
}
answers = {}
for number, images in enumerate(photos):
    outputs = signatures["serving_default"](images=tf.constant(images))
    answers |= {f"{number}_{field}": outputs[f"output_{field}"].numpy() for field in range(4)}
np.savez(folder / "saved_model.npz", **answers)
canvases = tf.constant(np.load(folder / "canvases.npy"))
np.savez(folder / "predict.npz", **signatures["predict"](images=canvases))

graph_def = tf.compat.v1.GraphDef.FromString(frozen_graph.read_bytes())
with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
    tf.compat.v1.import_graph_def(graph_def, name="")
    fetches = ["Identity:0", "Identity_1:0", "Identity_2:0", "Identity_3:0"]
    answers = {}
    for number, images in enumerate(photos):
        for field, array in enumerate(session.run(fetches, {"images:0": images})):
            answers[f"{number}_{field}"] = array
np.savez(folder / "frozen_graph.npz", **answers)

report["nodes"] = [node.name for node in graph_def.node if "/" not in node.name]
report["operations"] = sorted({node.op for node in graph_def.node})
report["warnings"] = Ear.heard
(folder / "report.json").write_text(json.dumps(report))
