"""Input pipelines from lists of dicts, in tfdet's format: TFRecords to samples of `augment.pipeline_steps`."""

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf
from efficientdet.detectors.part_reader import read_part
from efficientdet.preprocess import decode_image
from efficientdet.types import TensorTree

from efficientdet_pipeline.augment.pipeline_steps import Sample, Step, read_step
from efficientdet_pipeline.errors import MissingError, OptionsError


@dataclass(frozen=True, kw_only=True)
class InputReadRecordFiles:
    """First step: the records to read, and their order."""

    pattern_file: str
    """Glob of TFRecord files."""
    seed: int = 2022
    """Seed of the order and of all random steps."""
    shuffle: bool = False
    bucket_size_shuffle: int = 64
    """Size of the shuffle buffer, in samples."""
    debug: bool = False
    """Whether the order is fixed, whatever the steps say."""
    include_mask: bool = False
    """Whether to decode the masks of objects, as image_masks."""

    def __post_init__(self) -> None:
        if self.bucket_size_shuffle < 1:
            raise ValueError(f"bucket_size_shuffle must be 1 or more. Received {self.bucket_size_shuffle}.")


def pipeline(steps: Sequence[Mapping[str, object]]) -> tf.data.Dataset:
    """Returns the samples of a list of steps, one pass over the records.

    Each pass over the dataset draws other random numbers; two datasets of the
    same list draw the same ones. Batch it with `padded`, which marks padding.

    Args:
      steps: dicts with a name; the first is InputReadRecordFiles, the others are
        those of `named_steps.STEPS`. They are not changed.

    Raises:
      OptionsError: a name or key is unknown, or a value is wrong.
      MissingError: no file matches the pattern.
    """
    if not steps:
        raise OptionsError("A pipeline must begin with InputReadRecordFiles. Received no steps.")
    try:
        source = read_part("first step", steps[0], {"inputreadrecordfiles": InputReadRecordFiles})
        later = [read_step(step) for step in steps[1:]]
    except ValueError as error:
        raise OptionsError(str(error)) from error
    dataset = _samples(source)
    for index, step in enumerate(later):
        numbers = tf.data.Dataset.random(seed=source.seed + index, rerandomize_each_iteration=True)
        dataset = tf.data.Dataset.zip(dataset, numbers)
        dataset = dataset.map(
            _applied(step, index),
            num_parallel_calls=tf.data.AUTOTUNE if step.num_parallel_calls == "AUTO" else step.num_parallel_calls,
            deterministic=source.debug or step.deterministic == "true",
        )
    return dataset


def padded(dataset: tf.data.Dataset, batch_size: int, *, drop_remainder: bool = False) -> tf.data.Dataset:
    """Returns batches: labels of padding are -1, which is not a class, and masks 0."""
    spec = dataset.element_spec
    shapes = {key: value.shape for key, value in spec.items()}
    values = {key: "" if value.dtype == tf.string else tf.zeros((), value.dtype) for key, value in spec.items()}
    if "labels" in values:
        values["labels"] = tf.constant(-1, spec["labels"].dtype)
    return dataset.padded_batch(batch_size, shapes, values, drop_remainder)


def _applied(step: Step, index: int) -> Callable[..., TensorTree]:
    def apply(sample: Sample, number: tf.Tensor) -> Sample:
        return step(sample, tf.stack([tf.cast(number % (2**31 - 1), tf.int32), tf.constant(index)]))

    return apply


def _samples(source: InputReadRecordFiles) -> tf.data.Dataset:
    files = sorted(glob.glob(source.pattern_file))
    if not files:
        raise MissingError(f"No file matches pattern_file={source.pattern_file!r} of InputReadRecordFiles.")
    dataset = tf.data.Dataset.from_tensor_slices(files)
    if source.shuffle:
        dataset = dataset.shuffle(len(files), seed=source.seed)
    dataset = dataset.interleave(tf.data.TFRecordDataset, cycle_length=min(len(files), 8))
    if source.shuffle:
        dataset = dataset.shuffle(source.bucket_size_shuffle, seed=source.seed)
    return dataset.map(
        lambda record: _parsed(record, source.include_mask),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _parsed(record: tf.Tensor, include_mask: bool) -> Sample:
    box_keys = [f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")]
    features: dict[str, object] = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string),
        "image/filename": tf.io.FixedLenFeature((), tf.string, ""),
        "image/object/class/label": tf.io.VarLenFeature(tf.int64),
        **{key: tf.io.VarLenFeature(tf.float32) for key in box_keys},
    }
    if include_mask:
        features["image/object/mask"] = tf.io.VarLenFeature(tf.string)
    parsed = tf.io.parse_single_example(record, features)
    image = tf.cast(decode_image(parsed["image/encoded"]), tf.float32)
    boxes = tf.stack([tf.sparse.to_dense(parsed[key]) for key in box_keys], axis=-1)
    labels = tf.cast(tf.sparse.to_dense(parsed["image/object/class/label"]), tf.int32)[:, tf.newaxis]
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    sample = {
        "id": parsed["image/filename"],
        "image": image,
        "bboxes": boxes,
        "labels": labels,
        "areas": tf.reduce_prod((boxes[:, 2:] - boxes[:, :2]) * sides, axis=1),
        "mask": tf.ones_like(labels),
    }
    if include_mask:
        size = tf.shape(image)[:2]
        masks = tf.map_fn(
            lambda png: tf.reshape(tf.io.decode_png(png, channels=1), size),
            tf.sparse.to_dense(parsed["image/object/mask"]),
            fn_output_signature=tf.TensorSpec((None, None), tf.uint8),
        )
        sample["image_masks"] = tf.reshape(masks, tf.concat([tf.shape(masks)[:1], size], axis=0))
    return sample
