"""Export as ONNX: raw outputs for any batch size, optionally with NonMaxSuppression."""

import logging as standard_logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from efficientdet.anchors import anchor_boxes
from efficientdet.boxes import MAX_LOG_STRETCH
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet_pipeline.export.trained_detector import RawHeads, TrainedDetector, check_raw_heads, with_anchors
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.inference.onnx_loader import OnnxRunner
from tfrmod import fileio

OPSET = 18
_MIN_DECIBELS = 60.0
_PURPOSE = "Writing an ONNX file"


def write_onnx(detector: TrainedDetector, path: Path) -> dict[str, float]:
    """Writes raw outputs: `images` float32 (b, H, W, 3), pixels 0 to 255 → `logits` (b, a, k), `deltas` (b, a, 4).

    Returns:
      Signal-to-noise ratio in decibels of logits and deltas, on one image.

    Raises:
      MissingExtraError: tf2onnx or onnxruntime is not installed.
      DataError: the file does not reproduce the network's outputs.
    """
    content = onnx_of(detector.raw_heads(batch_size=None, dtype="float32")).SerializeToString(deterministic=True)
    decibels = check_raw_heads(detector, OnnxRunner(content).run_heads, min_decibels=_MIN_DECIBELS, what=path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    fileio.write_file(path, content)
    return decibels


def write_onnx_with_nms(
    detector: TrainedDetector,
    path: Path,
    *,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.05,
    count: int = 100,
) -> None:
    """Writes a file with per-class hard non-maximum suppression, unlike the Gaussian soft-NMS of evaluation.

    `images` as for `write_onnx` → `boxes` (n, 4), y0 x0 y1 x1 in canvas pixels, `scores` (n,), `class_ids` (n,),
    1-based, int64, and `image_index` (n,), int64: the index of each detection's image in the batch.

    Args:
      iou_threshold: IoU above which the weaker box is dropped.
      score_threshold: detections with a lower score are dropped.
      count: maximum detections per image and class.

    Raises:
      MissingExtraError: tf2onnx is not installed.
    """
    model = onnx_of(detector.raw_heads(batch_size=None, dtype="float32"))
    _append_nms(model, detector, iou_threshold, score_threshold, count)
    import_extra("onnx", purpose=_PURPOSE).checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    fileio.write_file(path, model.SerializeToString(deterministic=True))


def onnx_of(heads: RawHeads, *, outputs: Sequence[str] = ("logits", "deltas")) -> Any:
    """Returns the ONNX model of a traced network.

    Args:
      heads: what is traced; other networks than detectors come in the same form.
      outputs: names of its outputs, in their order.

    Raises:
      MissingExtraError: tf2onnx is not installed.
    """
    tf2onnx = import_extra("tf2onnx", purpose=_PURPOSE)
    graph_def, inputs, results = frozen_heads(heads)
    names = ["images", *outputs]
    with _quiet(), tf.Graph().as_default():
        model, _ = tf2onnx.convert.from_graph_def(
            graph_def,
            input_names=inputs,
            output_names=results,
            opset=OPSET,
            tensors_to_rename=dict(zip([*inputs, *results], names, strict=True)),
        )
    return model


def frozen_heads(heads: RawHeads) -> tuple[Any, list[str], list[str]]:
    """Returns a traced network as one GraphDef, and the names of its input and output tensors."""
    frozen = convert_variables_to_constants_v2(heads.function)
    graph_def = frozen.graph.as_graph_def()
    return graph_def, [each.name for each in frozen.inputs], [each.name for each in frozen.outputs]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences tf2onnx's log of optimizer steps, and its warnings of NumPy names."""
    logger = standard_logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(standard_logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _append_nms(
    model: Any, detector: TrainedDetector, iou_threshold: float, score_threshold: float, count: int
) -> None:
    onnx = import_extra("onnx", purpose=_PURPOSE)
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    graph = model.graph
    anchors = np.asarray(anchor_boxes(with_anchors(detector.config)), np.float32)
    sizes = anchors[:, 2:] - anchors[:, :2]
    constants = {
        "anchor_centers": anchors[:, :2] + sizes / 2,
        "anchor_sizes": sizes,
        "largest_stretch": np.float32(MAX_LOG_STRETCH),
        "half": np.float32(0.5),
        "one": np.int64(1),
        "split_sizes": np.array([2, 2], np.int64),
        "columns": np.array([1, 1, 1], np.int64),
        "image_and_box": np.array([0, 2], np.int64),
        "last": np.array([-1], np.int64),
        "count": np.array([count], np.int64),
        "iou_threshold": np.array([iou_threshold], np.float32),
        "score_threshold": np.array([score_threshold], np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())

    def node(operation: str, inputs: str, outputs: str, **attributes: Any) -> None:
        graph.node.append(helper.make_node(operation, inputs.split(), outputs.split(), **attributes))

    node("Split", "deltas split_sizes", "shifts stretches", axis=2)
    node("Mul", "shifts anchor_sizes", "moved")
    node("Add", "moved anchor_centers", "centers")
    node("Min", "stretches largest_stretch", "bounded")
    node("Exp", "bounded", "factors")
    node("Mul", "factors anchor_sizes", "box_sizes")
    node("Mul", "box_sizes half", "half_sizes")
    node("Sub", "centers half_sizes", "low")
    node("Add", "centers half_sizes", "high")
    node("Concat", "low high", "all_boxes", axis=2)
    node("Sigmoid", "logits", "probabilities")
    node("Transpose", "probabilities", "by_class", perm=[0, 2, 1])
    node("NonMaxSuppression", "all_boxes by_class count iou_threshold score_threshold", "kept")
    node("Split", "kept columns", "image_column class_column box_column", axis=1)
    node("Concat", "image_column box_column", "box_places", axis=1)
    node("GatherND", "all_boxes box_places", "boxes")
    node("GatherND", "by_class kept", "scores")
    node("Squeeze", "image_column last", "image_index")
    node("Squeeze", "class_column last", "class_index")
    node("Add", "class_index one", "class_ids")
    del graph.output[:]
    float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    ends: list[tuple[str, int, list[Any]]] = [
        ("boxes", float32, ["detections", 4]),
        ("scores", float32, ["detections"]),
    ]
    ends += [("class_ids", int64, ["detections"]), ("image_index", int64, ["detections"])]
    graph.output.extend(helper.make_tensor_value_info(*end) for end in ends)
