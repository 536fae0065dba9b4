"""Augmentations that make one sample out of several."""

from collections.abc import Sequence

import tensorflow as tf

from efficientdet_pipeline.augment.rows import paste
from efficientdet_pipeline.augment.sample import Sample, box_areas, image_size, in_dtype_of

MOSAIC_SPLIT = (0.25, 0.75)
"""Where the four pictures of a mosaic may meet, as parts of either side."""


def mosaic(samples: Sequence[Sample], seed: tf.Tensor, *, size: tuple[int, int] = (680, 680)) -> Sample:
    """Returns four samples as the four quarters of one picture.

    They meet at a random point; each is stretched to its quarter, its aspect
    given up, so no object is cut. (Bochkovskiy et al. 2020, as automl has it.)

    Args:
      samples: top left, top right, bottom left, bottom right.
      seed: (2,) integers.
      size: (height, width) of the result.

    Raises:
      ValueError: when there are not four.
    """
    if len(samples) != 4:
        raise ValueError(f"A mosaic is made of 4 samples. Received {len(samples)}.")
    extent = tf.constant(size)
    split = tf.cast(tf.random.stateless_uniform((2,), seed, *MOSAIC_SPLIT) * tf.cast(extent, tf.float32), tf.int32)
    quarters = []
    for number, sample in enumerate(samples):
        at_end = tf.constant([number >= 2, number % 2 == 1])
        begin, end = tf.where(at_end, split, 0), tf.where(at_end, extent, split)
        quarter = stretch(sample, end - begin)
        quarters.append(quarter._replace(boxes=quarter.boxes + tf.tile(tf.cast(begin, tf.float32), [2])))
    top, bottom = (tf.concat([quarters[row].image, quarters[row + 1].image], axis=1) for row in (0, 2))
    return Sample(
        tf.ensure_shape(tf.concat([top, bottom], axis=0), (*size, 3)),
        tf.concat([quarter.boxes for quarter in quarters], axis=0),
        tf.concat([quarter.class_ids for quarter in quarters], axis=0),
    )


def stretch(sample: Sample, size: tf.Tensor) -> Sample:
    """Returns the sample at another (height, width), its aspect given up."""
    image = tf.image.resize(sample.image, size)
    scale = tf.cast(size, tf.float32) / image_size(sample.image)
    return sample._replace(image=in_dtype_of(sample.image, image), boxes=sample.boxes * tf.tile(scale, [2]))


def mixup(sample: Sample, partner: Sample, seed: tf.Tensor, *, alpha: float = 8.0) -> Sample:
    """Returns two samples shining through each other, with the objects of both.

    The share of the first is drawn from Beta(alpha, alpha); 8 keeps it near one
    half, so that both stay visible. Pictures meet at the top left of one that
    holds both. (Zhang et al. 2017; for detection Zhang et al. 2019.)
    """
    first, second = tf.unstack(tf.random.stateless_gamma((2,), seed, alpha=alpha))
    share = first / (first + second)
    height, width = tf.unstack(tf.maximum(tf.shape(sample.image)[:2], tf.shape(partner.image)[:2]))
    images = [
        tf.image.pad_to_bounding_box(tf.cast(each.image, tf.float32), 0, 0, height, width) for each in (sample, partner)
    ]
    return Sample(
        in_dtype_of(sample.image, images[0] * share + images[1] * (1 - share)),
        tf.concat([sample.boxes, partner.boxes], axis=0),
        tf.concat([sample.class_ids, partner.class_ids], axis=0),
    )


def copy_paste(sample: Sample, donor: Sample, seed: tf.Tensor, *, max_covered: float = 0.7) -> Sample:
    """Returns the sample with one object of `donor`, cut out by its box, pasted anywhere.

    An object that does not fit is cut off at the right and below. Boxes of which
    the pasted one covers more than `max_covered` are dropped. Without an object
    to paste nothing happens. (Ghiasi et al. 2020, with boxes instead of masks.)
    """
    amounts = tf.random.stateless_uniform((3,), seed)
    num_boxes = tf.shape(donor.boxes)[0]

    def pasted() -> Sample:
        chosen = tf.minimum(tf.cast(amounts[0] * tf.cast(num_boxes, tf.float32), tf.int32), num_boxes - 1)
        patch = _cut_out(donor, chosen, tf.shape(sample.image)[:2])
        patch_size = tf.shape(patch)[:2]
        room = tf.shape(sample.image)[:2] - patch_size
        begin = tf.cast(amounts[1:] * tf.cast(room + 1, tf.float32), tf.int32)
        begin = tf.minimum(begin, room)
        return _paste(sample, patch, begin, donor.class_ids[chosen], max_covered)

    return tf.cond(num_boxes > 0, pasted, lambda: sample)


def _cut_out(donor: Sample, chosen: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Returns the content of one box, at least one pixel and at most `limit` high and wide."""
    box = donor.boxes[chosen]
    size = tf.shape(donor.image)[:2]
    begin = tf.clip_by_value(tf.cast(tf.floor(box[:2]), tf.int32), 0, size - 1)
    end = tf.clip_by_value(tf.cast(tf.math.ceil(box[2:]), tf.int32), begin + 1, size)
    end = tf.minimum(end, begin + limit)
    return donor.image[begin[0] : end[0], begin[1] : end[1]]


def _paste(sample: Sample, patch: tf.Tensor, begin: tf.Tensor, class_id: tf.Tensor, max_covered: float) -> Sample:
    box = tf.cast(tf.concat([begin, begin + tf.shape(patch)[:2]], axis=0), tf.float32)
    covered = tf.concat([tf.maximum(sample.boxes[:, :2], box[:2]), tf.minimum(sample.boxes[:, 2:], box[2:])], axis=1)
    kept = box_areas(covered) <= max_covered * box_areas(sample.boxes)
    return Sample(
        paste(sample.image, tf.cast(patch, sample.image.dtype), begin),
        tf.concat([tf.boolean_mask(sample.boxes, kept), box[None]], axis=0),
        tf.concat([tf.boolean_mask(sample.class_ids, kept), class_id[None]], axis=0),
    )
