"""Augmentations that combine several samples: mosaic, mixup and copy-paste."""

from collections.abc import Sequence

import tensorflow as tf

from efficientdet_pipeline.augment.geometry import paste
from efficientdet_pipeline.augment.resize import Window, crop_window
from efficientdet_pipeline.augment.sample import Sample, box_areas, image_size, in_dtype_of

MOSAIC_SPLIT = (0.25, 0.75)
"""Range of the point where the four images of a mosaic meet, as fractions of either side."""


def mosaic(
    samples: Sequence[Sample], seed: tf.Tensor, *, size: tuple[int, int] = (680, 680), min_visibility: float = 0.1
) -> Sample:
    """Returns a mosaic: four samples as the four quadrants of one image.

    They meet at a random point. Each quadrant shows a random crop of its sample,
    as large as the shape of the quadrant allows, with the aspect ratio kept.
    (Bochkovskiy et al. 2020. automl, which never calls its mosaic, stretches the
    whole image instead.)

    Args:
      samples: top left, top right, bottom left, bottom right.
      seed: (2,) integers.
      size: (height, width) of the result.
      min_visibility: boxes with a smaller visible share are dropped.

    Raises:
      ValueError: the number of samples is not four.
    """
    if len(samples) != 4:
        raise ValueError(f"A mosaic is made of 4 samples. Received {len(samples)}.")
    split_seed, *place_seeds = tf.unstack(tf.random.split(seed, 5))
    extent = tf.constant(size)
    split = tf.cast(
        tf.random.stateless_uniform((2,), split_seed, *MOSAIC_SPLIT) * tf.cast(extent, tf.float32), tf.int32
    )
    quarters = []
    for number, (sample, place_seed) in enumerate(zip(samples, place_seeds, strict=True)):
        at_end = tf.constant([number >= 2, number % 2 == 1])
        begin, end = tf.where(at_end, split, 0), tf.where(at_end, extent, split)
        quarter = crop_window(sample, covering_window(sample, end - begin, place_seed), min_visibility=min_visibility)
        quarters.append(quarter._replace(boxes=quarter.boxes + tf.tile(tf.cast(begin, tf.float32), [2])))
    top, bottom = (tf.concat([quarters[row].image, quarters[row + 1].image], axis=1) for row in (0, 2))
    return Sample(
        tf.ensure_shape(tf.concat([top, bottom], axis=0), (*size, 3)),
        tf.concat([quarter.boxes for quarter in quarters], axis=0),
        tf.concat([quarter.class_ids for quarter in quarters], axis=0),
    )


def covering_window(sample: Sample, size: tf.Tensor, seed: tf.Tensor) -> Window:
    """Returns a random crop that fills (height, width), as large as the shape of the image allows."""
    source_size, wanted = image_size(sample.image), tf.cast(size, tf.float32)
    extent = tf.clip_by_value(tf.round(wanted / tf.reduce_max(wanted / source_size)), 1.0, source_size)
    begin = tf.floor(tf.random.stateless_uniform((2,), seed) * (source_size - extent + 1))
    begin = tf.minimum(begin, source_size - extent)
    return Window(tf.cast(tf.concat([begin, begin + extent], 0), tf.int32), size)


def mixup(sample: Sample, partner: Sample, seed: tf.Tensor, *, alpha: float = 8.0) -> Sample:
    """Returns the sample blended with a partner, with the objects of both.

    The partner is scaled to fit the sample's image and placed at its top left.
    The sample's weight is drawn from Beta(alpha, alpha); 8 keeps it near one
    half, so that both stay visible. (Zhang et al. 2017; for detection Zhang et
    al. 2019.)
    """
    first, second = tf.unstack(tf.random.stateless_gamma((2,), seed, alpha=alpha))
    share = first / (first + second)
    size = image_size(sample.image)
    source_size = image_size(partner.image)
    fitted = tf.cast(tf.clip_by_value(tf.floor(source_size * tf.reduce_min(size / source_size)), 1.0, size), tf.int32)
    whole = Window(tf.concat([[0, 0], tf.shape(partner.image)[:2]], 0), fitted)
    partner = crop_window(partner, whole, min_visibility=0.0)
    below, beside = tf.unstack(tf.shape(sample.image)[:2] - fitted)
    beneath = tf.pad(tf.cast(partner.image, tf.float32), [[0, below], [0, beside], [0, 0]])
    mixed = tf.cast(sample.image, tf.float32) * share + beneath * (1 - share)
    return Sample(
        tf.ensure_shape(in_dtype_of(sample.image, mixed), sample.image.shape),
        tf.concat([sample.boxes, partner.boxes], axis=0),
        tf.concat([sample.class_ids, partner.class_ids], axis=0),
    )


def copy_paste(sample: Sample, donor: Sample, seed: tf.Tensor, *, max_covered: float = 0.7) -> Sample:
    """Returns the sample with one object of `donor`, cropped by its box, pasted at a random position.

    The object is scaled as if the donor's image were resized to fit the sample's.
    Boxes that it covers by more than `max_covered` are dropped. Without an
    object in `donor` the sample is unchanged. (Ghiasi et al. 2020, with boxes
    instead of masks.)
    """
    amounts = tf.random.stateless_uniform((3,), seed)
    num_boxes = tf.shape(donor.boxes)[0]

    def pasted() -> Sample:
        chosen = tf.minimum(tf.cast(amounts[0] * tf.cast(num_boxes, tf.float32), tf.int32), num_boxes - 1)
        patch = _cut_out(donor, chosen, image_size(sample.image))
        room = tf.shape(sample.image)[:2] - tf.shape(patch)[:2]
        begin = tf.minimum(tf.cast(amounts[1:] * tf.cast(room + 1, tf.float32), tf.int32), room)
        return _paste(sample, patch, begin, donor.class_ids[chosen], max_covered)

    return tf.cond(num_boxes > 0, pasted, lambda: sample)


def _cut_out(donor: Sample, chosen: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns the content of one box, at the scale at which the donor's image fits `size`."""
    box = donor.boxes[chosen]
    source_size = tf.shape(donor.image)[:2]
    begin = tf.clip_by_value(tf.cast(tf.floor(box[:2]), tf.int32), 0, source_size - 1)
    end = tf.clip_by_value(tf.cast(tf.math.ceil(box[2:]), tf.int32), begin + 1, source_size)
    scale = tf.reduce_min(size / tf.cast(source_size, tf.float32))
    wanted = tf.clip_by_value(tf.floor(tf.cast(end - begin, tf.float32) * scale), 1.0, size)
    content = donor.image[begin[0] : end[0], begin[1] : end[1]]
    return in_dtype_of(donor.image, tf.image.resize(content, tf.cast(wanted, tf.int32)))


def _paste(sample: Sample, patch: tf.Tensor, begin: tf.Tensor, class_id: tf.Tensor, max_covered: float) -> Sample:
    box = tf.cast(tf.concat([begin, begin + tf.shape(patch)[:2]], axis=0), tf.float32)
    covered = tf.concat([tf.maximum(sample.boxes[:, :2], box[:2]), tf.minimum(sample.boxes[:, 2:], box[2:])], axis=1)
    kept = box_areas(covered) <= max_covered * box_areas(sample.boxes)
    return Sample(
        paste(sample.image, tf.cast(patch, sample.image.dtype), begin),
        tf.concat([tf.boolean_mask(sample.boxes, kept), box[None]], axis=0),
        tf.concat([tf.boolean_mask(sample.class_ids, kept), class_id[None]], axis=0),
    )
