"""TFLite metadata for MediaPipe's ObjectDetector and the Task Library.

A flatbuffer of TensorFlow Lite's metadata schema (root ModelMetadata, identifier
M001) in a buffer named TFLITE_METADATA, and the label file as a zip archive
after the model. MediaPipe's own writer cannot be imported without parts that
its wheel lacks, so the few tables are written here; field numbers are those
of the schema.
"""

import io
import zipfile
from collections.abc import Callable, Sequence

import flatbuffers

from efficientdet_pipeline.export.tflite_file import add_metadata, read_model, serialized
from efficientdet_pipeline.export.trained_detector import TrainedDetector

LABELS = "labels.txt"
_IDENTIFIER = b"M001"
_RGB, _BOUNDARIES, _RATIO, _VALUE_LABELS = 1, 1, 0, 3
_IMAGE, _BOXES = 2, 3
_NORMALIZATION = 1

Field = tuple[int, str, object]
"""Number of a field, its storage (int8 or offset), and its value."""


def label_lines(detector: TrainedDetector) -> str:
    """Returns the names of the classes, one per line; line i is class index i."""
    ids = range(1, detector.config.num_classes + 1)
    return "".join(f"{str(detector.label_map.get(class_id, class_id)).splitlines()[0]}\n" for class_id in ids)


def add_metadata_and_labels(content: bytes, detector: TrainedDetector) -> bytes:
    """Returns a post-processed TFLite file with metadata and the label file."""
    model = read_model(content)
    add_metadata(model, "TFLITE_METADATA", metadata_of(detector))
    file = io.BytesIO(serialized(model))
    with zipfile.ZipFile(file, "a") as archive:
        # A fixed time, so that exporting the same detector gives the same file.
        archive.writestr(zipfile.ZipInfo(LABELS, (1980, 1, 1, 0, 0, 0)), label_lines(detector))
    return file.getvalue()


def metadata_of(detector: TrainedDetector) -> bytes:
    """Returns the metadata flatbuffer of a post-processed detector."""
    builder = _Builder()
    inputs = [_image(builder)]
    outputs = [_boxes(builder), _categories(builder)]
    for name, text in (("score", "Score of each detection."), ("number of detections", "Number of detections.")):
        outputs.append(_tensor(builder, name, text, content=_content(builder, 1, builder.table([]))))
    group = builder.table(
        [
            (0, "offset", builder.text("detection_result")),
            (1, "offset", builder.vector([builder.text(name) for name in ("location", "category", "score")])),
        ]
    )
    graph = builder.table(
        [
            (2, "offset", builder.vector(inputs)),
            (3, "offset", builder.vector(outputs)),
            (8, "offset", builder.vector([group])),
        ]
    )
    root = builder.table(
        [
            (0, "offset", builder.text("ObjectDetector")),
            (1, "offset", builder.text(f"{detector.config.name}: detects objects with classes and scores.")),
            (3, "offset", builder.vector([graph])),
            (7, "offset", builder.text("1.0.0")),
        ]
    )
    return builder.finished(root)


class _Builder:
    """Writer of tables, vectors and texts; children are written before parents."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        return int(self._builder.CreateString(value))

    def table(self, fields: Sequence[Field]) -> int:
        self._builder.StartObject(1 + max((number for number, *_ in fields), default=0))
        for number, kind, value in fields:
            if kind == "offset":
                self._builder.PrependUOffsetTRelativeSlot(number, value, 0)
            else:
                self._builder.PrependInt8Slot(number, value, 0)
        return int(self._builder.EndObject())

    def vector(self, offsets: Sequence[int]) -> int:
        return self._vector(offsets, self._builder.PrependUOffsetTRelative)

    def floats(self, values: Sequence[float]) -> int:
        return self._vector(values, self._builder.PrependFloat32)

    def integers(self, values: Sequence[int]) -> int:
        return self._vector(values, self._builder.PrependUint32)

    def _vector(self, values: Sequence[float], prepend: Callable[[float], object]) -> int:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            prepend(value)
        return int(self._builder.EndVector())

    def finished(self, root: int) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())


def _content(builder: _Builder, kind: int, properties: int) -> int:
    return builder.table([(0, "int8", kind), (1, "offset", properties)])


def _tensor(builder: _Builder, name: str, text: str, *, content: int, extra: Sequence[Field] = ()) -> int:
    fields = [(0, "offset", builder.text(name)), (1, "offset", builder.text(text)), (3, "offset", content)]
    return builder.table([*fields, *extra])


def _image(builder: _Builder) -> int:
    """Returns the description of the input: the graph includes the normalization, so mean 0 and deviation 1."""
    normalization = builder.table([(0, "offset", builder.floats([0.0])), (1, "offset", builder.floats([1.0]))])
    unit = builder.table([(0, "int8", _NORMALIZATION), (1, "offset", normalization)])
    stats = builder.table([(0, "offset", builder.floats([255.0])), (1, "offset", builder.floats([0.0]))])
    content = _content(builder, _IMAGE, builder.table([(0, "int8", _RGB)]))
    extra = [(4, "offset", builder.vector([unit])), (5, "offset", stats)]
    return _tensor(builder, "image", "RGB image, 0 to 255.", content=content, extra=extra)


def _boxes(builder: _Builder) -> int:
    properties = builder.table(
        [
            # MediaPipe expects left, top, right, bottom; the operation returns top, left, bottom, right.
            (0, "offset", builder.integers([1, 0, 3, 2])),
            (1, "int8", _BOUNDARIES),
            (2, "int8", _RATIO),
        ]
    )
    content = _content(builder, _BOXES, properties)
    return _tensor(builder, "location", "Boxes as fractions of the canvas.", content=content)


def _categories(builder: _Builder) -> int:
    labels = builder.table(
        [
            (0, "offset", builder.text(LABELS)),
            (1, "offset", builder.text("Names of the classes.")),
            (2, "int8", _VALUE_LABELS),
        ]
    )
    content = _content(builder, 1, builder.table([]))
    extra = [(6, "offset", builder.vector([labels]))]
    return _tensor(builder, "category", "Class index of each detection.", content=content, extra=extra)
