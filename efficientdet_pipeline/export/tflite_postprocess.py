"""TFLite_Detection_PostProcess appended to a file with raw outputs: four outputs, as mobile runtimes expect.

The operation is added to the finished flatbuffer. With TensorFlow's converter
(a function marked for replacement) the result may be, without an error, a file
of a few kilobytes that detects nothing.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from flatbuffers import flexbuffers
from tensorflow.lite.python import schema_py_generated as schema

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.export.tflite_file import (
    add_operation,
    add_tensor,
    name_ends,
    operations,
    read_model,
    serialized,
)
from efficientdet_pipeline.export.tflite_metadata import add_metadata_and_labels
from efficientdet_pipeline.export.trained_detector import TrainedDetector, anchors_unit
from tfrmod import fileio

OPERATION = "TFLite_Detection_PostProcess"
OUTPUTS = ("location", "category", "score", "number of detections")
"""In this order: boxes (1, d, 4) y0 x0 y1 x1 as fractions of the canvas; class index from 0 (1, d); (1, d); (1,)."""


@dataclass(frozen=True, kw_only=True)
class PostProcess:
    """Settings of the operation, stored in the file."""

    max_detections: int = 100
    """Number of output rows."""
    nms_score_threshold: float = 0.001
    """Detections with a lower score are dropped."""
    nms_iou_threshold: float = 0.5
    """IoU above which the weaker box is dropped: hard NMS, unlike the Gaussian soft-NMS of evaluation."""
    use_regular_nms: bool = False
    """Suppress per class (slower), instead of using only each anchor's best class."""
    max_classes_per_detection: int = 1
    """Classes per box, if suppression is not per class."""
    detections_per_class: int = 100
    """Maximum detections per class, if suppression is per class."""


def write_post_processed(
    detector: TrainedDetector, raw_heads: Path, path: Path, settings: PostProcess | None = None
) -> None:
    """Writes a file with raw outputs plus suppression, MediaPipe metadata and labels.

    Args:
      raw_heads: from `tflite.write_tflite`, any precision.
      path: of the new file.
      settings: of the operation.

    Raises:
      DataError: `raw_heads` has other outputs.
    """
    content = post_processed(raw_heads.read_bytes(), detector, settings or PostProcess())
    fileio.write_file(path, add_metadata_and_labels(content, detector))


def post_processed(content: bytes, detector: TrainedDetector, settings: PostProcess) -> bytes:
    """Returns the flatbuffer with a sigmoid and the operation at its end.

    Raises:
      DataError: the file's outputs are not the float logits and deltas of this network.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    anchors, num_classes = anchors_unit(detector.config), detector.config.num_classes
    ends = [graph.tensors[index] for index in graph.outputs]
    expected = [[1, len(anchors), num_classes], [1, len(anchors), 4]]
    shapes = [list(tensor.shape) for tensor in ends]
    if shapes != expected or any(tensor.type != schema.TensorType.FLOAT32 for tensor in ends):
        raise DataError(
            f"Post-processing is added to float logits and deltas of shapes {expected}. Received a file with outputs "
            f"of shapes {shapes} and types {[tensor.type for tensor in ends]}; write it as format tflite."
        )
    logits, deltas = (int(index) for index in graph.outputs)
    scores = add_tensor(model, "scores", expected[0])
    add_operation(model, schema.BuiltinOperator.LOGISTIC, [logits], [scores])
    constant = add_tensor(model, "anchors", anchors.shape, anchors)
    count = settings.max_detections
    shapes_out = [[1, count, 4], [1, count], [1, count], [1]]
    outputs = [add_tensor(model, name, shape) for name, shape in zip(OUTPUTS, shapes_out, strict=True)]
    operation = add_operation(
        model, schema.BuiltinOperator.CUSTOM, [deltas, scores, constant], outputs, custom=OPERATION
    )
    options = {**asdict(settings), "num_classes": num_classes}
    options |= {f"{side}_scale": 1.0 for side in "yxhw"}
    operation.customOptions = list(flexbuffers.Dumps(options))
    operation.customOptionsFormat = schema.CustomOptionsFormat.FLEXBUFFERS
    graph.outputs = outputs
    name_ends(model, inputs=["images"], outputs=list(OUTPUTS))
    return serialized(model)


def has_post_processing(content: bytes) -> bool:
    """Returns whether a TFLite file returns detections instead of raw outputs."""
    return f"CUSTOM {OPERATION}" in operations(content)
