"""Images of shards with their ground truth, read lazily, for the evaluation of any predictor."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from efficientdet_pipeline.data.tfrecord_reader import (
    Record,
    RecordReader,
    decode_record_image,
    index_records,
    parse_record,
)
from efficientdet_pipeline.evaluation.ground_truth import GroundTruth
from efficientdet_pipeline.evaluation.predictor_evaluation import LabeledImage, stratified_subset
from efficientdet_pipeline.evaluation.truth import TruthImage, image_key


def validation_samples(truth: GroundTruth, count: int | None = None) -> list[LabeledImage]:
    """Returns images of shards with their ground truth, in the classes of the detector.

    Args:
      truth: of the shards, from `ground_truth`.
      count: number of images, chosen by `stratified_subset`; None means all.
    """
    index = index_records(truth.files)
    read = RecordReader(index)
    kept: list[TruthImage] = []
    for number in range(len(index)):
        record = parse_record(read(tf.constant(number, tf.int64)))
        kept.append(_truth_of(record, truth))
    chosen = range(len(kept)) if count is None else stratified_subset(kept, count)
    return [_sample(kept[number], read, number) for number in chosen]


def _sample(truth: TruthImage, read: RecordReader, number: int) -> LabeledImage:
    def pixels() -> np.ndarray:
        record = parse_record(read(tf.constant(number, tf.int64)))
        return decode_record_image(record.encoded, record.file_name).numpy()

    return truth, pixels


def _truth_of(record: Record, truth: GroundTruth) -> TruthImage:
    key = image_key(record.source_id.numpy())
    if truth.images is not None:
        return truth.images[key]
    with Image.open(io.BytesIO(record.encoded.numpy())) as header:
        width, height = header.size
    boxes = record.boxes_unit.numpy() * np.array([height, width, height, width], np.float32)
    class_ids = [truth.class_ids.get(int(class_id), int(class_id)) for class_id in record.class_ids.numpy()]
    return TruthImage(
        key, boxes, np.array(class_ids, np.int64), record.is_crowd.numpy(), record.areas.numpy(), size=(height, width)
    )
