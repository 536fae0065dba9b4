"""Serialization of `AnnotatedImage` as tf.train.Example; the only module with the feature keys.

Keys, types and meanings are those of google/automl's reader. TensorFlow is not
needed: the message is defined here in a separate descriptor pool, so that
TensorFlow, which registers the same message, can be used in the same process.
"""

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.errors import DatasetError
from tfrmod.masks import array_png

ENCODED = "image/encoded"
FORMAT = "image/format"
FILENAME = "image/filename"
SOURCE_ID = "image/source_id"
SHA256 = "image/key/sha256"
HEIGHT = "image/height"
WIDTH = "image/width"
Y_MIN = "image/object/bbox/ymin"
X_MIN = "image/object/bbox/xmin"
Y_MAX = "image/object/bbox/ymax"
X_MAX = "image/object/bbox/xmax"
LABEL = "image/object/class/label"
TEXT = "image/object/class/text"
AREA = "image/object/area"
IS_CROWD = "image/object/is_crowd"
DIFFICULT = "image/object/difficult"
TRUNCATED = "image/object/truncated"
VIEW = "image/object/view"
MASK = "image/object/mask"
SEGMENTATION = "image/segmentation/class/encoded"
SEGMENTATION_FORMAT = "image/segmentation/class/format"
BOX = (Y_MIN, X_MIN, Y_MAX, X_MAX)


def _example_class() -> Any:
    """Returns the message class of tensorflow.Example (tensorflow/core/example/example.proto)."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="tfrmod/example.proto", package="tfrmod", syntax="proto3")

    def add(
        message: Any, name: str, number: int, kind: int, *, type_name: str | None = None, repeated: bool = False
    ) -> Any:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        return message.field.add(name=name, number=number, type=kind, label=label, type_name=type_name)

    feature = descriptor_pb2.DescriptorProto(name="Feature")
    feature.oneof_decl.add(name="kind")
    kinds = {"bytes": field.TYPE_BYTES, "float": field.TYPE_FLOAT, "int64": field.TYPE_INT64}
    for number, (name, kind) in enumerate(kinds.items(), start=1):
        list_name = f"{name.capitalize()}List"
        add(file.message_type.add(name=list_name), "value", 1, kind, repeated=True)
        member = add(feature, f"{name}_list", number, field.TYPE_MESSAGE, type_name=f".tfrmod.{list_name}")
        member.oneof_index = 0
    file.message_type.append(feature)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, type_name=".tfrmod.Feature")
    entry_name = ".tfrmod.Features.FeatureEntry"
    add(features, "feature", 1, field.TYPE_MESSAGE, type_name=entry_name, repeated=True)
    add(file.message_type.add(name="Example"), "features", 1, field.TYPE_MESSAGE, type_name=".tfrmod.Features")

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tfrmod.Example"))


Example = _example_class()


def encode_example(image: AnnotatedImage) -> bytes:
    """Returns the serialized record of an image, the same bytes for the same image.

    Boxes are divided by height and width (0 to 1); VOC's 1-based pixels are not
    shifted, as in automl. Areas are square pixels of the original image, from
    which COCO's size classes are computed (automl's VOC writer divides them, its
    COCO writer does not).

    Masks are written if the image has any, one PNG per object; an object without
    a mask gets an empty image, since readers decode all of them.
    """
    example = Example()
    feature = example.features.feature
    objects = image.objects
    for key, value in (
        (ENCODED, image.encoded),
        (FORMAT, image.format.encode()),
        (FILENAME, image.filename.encode("utf-8", "surrogateescape")),
        (SOURCE_ID, image.source_id.encode()),
        (SHA256, image.sha256.encode()),
    ):
        feature[key].bytes_list.value.append(value)
    feature[HEIGHT].int64_list.value.append(image.height)
    feature[WIDTH].int64_list.value.append(image.width)
    sides = (image.height, image.width, image.height, image.width)
    for axis, (key, side) in enumerate(zip(BOX, sides, strict=True)):
        feature[key].float_list.value.extend([obj.box[axis] / side for obj in objects])
    feature[AREA].float_list.value.extend([obj.area for obj in objects])
    feature[LABEL].int64_list.value.extend([obj.class_id for obj in objects])
    feature[IS_CROWD].int64_list.value.extend([int(obj.is_crowd) for obj in objects])
    feature[DIFFICULT].int64_list.value.extend([int(obj.difficult) for obj in objects])
    feature[TRUNCATED].int64_list.value.extend([int(obj.truncated) for obj in objects])
    feature[TEXT].bytes_list.value.extend([obj.name.encode() for obj in objects])
    feature[VIEW].bytes_list.value.extend([obj.view.encode() for obj in objects])
    if any(obj.mask for obj in objects):
        nothing = array_png(np.zeros((image.height, image.width), np.uint8))
        feature[MASK].bytes_list.value.extend([obj.mask or nothing for obj in objects])
    if image.segmentation:
        feature[SEGMENTATION].bytes_list.value.append(image.segmentation)
        feature[SEGMENTATION_FORMAT].bytes_list.value.append(b"png")
    return bytes(example.SerializeToString(deterministic=True))


def decode_example(record: bytes) -> AnnotatedImage:
    """Returns the image of a serialized record, ours or google/automl's.

    If a record has no height or width, its boxes stay in 0 to 1.

    Raises:
      DatasetError: the bytes are not an Example, or its lists of objects differ in length.
    """
    example = Example()
    try:
        example.ParseFromString(record)
    except DecodeError as error:
        raise DatasetError(f"A record of {len(record)} bytes is not a tf.train.Example.") from error
    feature = example.features.feature

    def values(key: str, kind: str) -> list[Any]:
        return list(getattr(feature[key], kind).value) if key in feature else []

    def text(key: str) -> str:
        return next((value.decode("utf-8", "surrogateescape") for value in values(key, "bytes_list")), "")

    height, width = (next(iter(values(key, "int64_list")), 0) for key in (HEIGHT, WIDTH))
    columns = {key: values(key, "float_list") for key in (*BOX, AREA)}
    columns |= {key: values(key, "int64_list") for key in (LABEL, IS_CROWD, DIFFICULT, TRUNCATED)}
    columns |= {key: [value.decode("utf-8", "replace") for value in values(key, "bytes_list")] for key in (TEXT, VIEW)}
    columns[MASK] = values(MASK, "bytes_list")
    return AnnotatedImage(
        filename=text(FILENAME),
        objects=_objects(columns, height or 1, width or 1),
        height=max(0, height),
        width=max(0, width),
        encoded=next(iter(values(ENCODED, "bytes_list")), b""),
        format=text(FORMAT),
        sha256=text(SHA256),
        source_id=text(SOURCE_ID),
        segmentation=next(iter(values(SEGMENTATION, "bytes_list")), b""),
    )


def _objects(columns: dict[str, list[Any]], height: int, width: int) -> tuple[AnnotatedObject, ...]:
    count = len(columns[LABEL])
    for key, values in columns.items():
        if len(values) != count and (values or key in BOX):
            raise DatasetError(f"A record has {count} labels but {len(values)} values of {key}.")

    def column(key: str, default: Any) -> list[Any]:
        return columns[key] or [default] * count

    boxes = zip(*(columns[key] for key in BOX), strict=True)
    rest = zip(
        column(TEXT, ""),
        boxes,
        *(column(key, 0) for key in (LABEL, DIFFICULT, TRUNCATED, IS_CROWD)),
        column(VIEW, ""),
        column(AREA, None),
        column(MASK, b""),
        strict=True,
    )
    return tuple(
        AnnotatedObject(
            name,
            (y0 * height, x0 * width, y1 * height, x1 * width),
            label,
            bool(difficult),
            bool(truncated),
            bool(is_crowd),
            view,
            area,
            mask,
        )
        for name, (y0, x0, y1, x1), label, difficult, truncated, is_crowd, view, area, mask in rest
    )
