"""Batches of validation images with their boxes on the canvas, for the validation loss."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.preprocess import fit_boxes_to_canvas, fit_to_canvas
from efficientdet.types import GroundTruth

from efficientdet_pipeline.data.input_pipeline import PADDING
from efficientdet_pipeline.data.sampler import all_records
from efficientdet_pipeline.data.tfrecord_reader import decode_record_image, parse_record, without_crowd


def validation_batches(
    files: Sequence[str],
    config: AnyDetectorConfig,
    *,
    batch_size: int,
    class_ids: Mapping[int, int] | None = None,
    numbers: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """Yields (images (b, H, W, 3) float32, GroundTruth) over every image once, as in training but not augmented.

    Args:
      files: the shards; their records are numbered in the order of the sorted names.
      config: of the detector.
      batch_size: images per batch; the last batch may be smaller.
      class_ids: class ids in the shards → ids in the detector, where they differ.
      numbers: record numbers to use, ascending; None means all.
    """
    table = np.arange(1 + max([config.num_classes, *(class_ids or {})]))
    for class_id, other in (class_ids or {}).items():
        table[class_id] = other
    other_ids = tf.constant(table, tf.int32)

    @tf.autograph.experimental.do_not_convert
    def prepare(serialized: tf.Tensor) -> tuple[tf.Tensor, GroundTruth]:
        record = without_crowd(parse_record(serialized))
        source = decode_record_image(record.encoded, record.file_name)
        image, _ = fit_to_canvas(source, config)
        boxes = fit_boxes_to_canvas(record.boxes_unit, tf.shape(source), config)
        return image, GroundTruth(boxes, tf.gather(other_ids, record.class_ids))

    dataset = all_records(files, numbers).map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
    shapes = ((*config.image_size, 3), GroundTruth((None, 4), (None,)))
    padding = (0.0, GroundTruth(float(PADDING), PADDING))
    return dataset.padded_batch(batch_size, padded_shapes=shapes, padding_values=padding).prefetch(2)
