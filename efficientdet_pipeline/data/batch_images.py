"""Images of a training step, for the report of non-finite losses and for drawings."""

from collections.abc import Sequence

import tensorflow as tf

from efficientdet_pipeline.data.image_descriptions import AugmentedImage, BatchImage, BoxSummary
from efficientdet_pipeline.data.input_pipeline import Augmenter, InputConfig
from efficientdet_pipeline.data.sampler import Sampler, pass_rows
from efficientdet_pipeline.data.tfrecord_reader import RecordReader, SampleReader, index_records
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.example import decode_example


def first_images(stream: InputConfig, augmenter: Augmenter, count: int) -> list[AugmentedImage]:
    """Returns the first samples of a training, `count` of them or the whole first batch if that is smaller."""
    index = index_records(stream.files)
    order = Sampler(index, stream.seed, stream.weights, augmenter.num_partners)
    read = SampleReader(index, skip_crowd=stream.skip_crowd, cache=stream.cache)
    images = []
    for number, row in enumerate(pass_rows(order, 0)[: min(count, stream.batch_size)].tolist()):
        seed = tf.constant([stream.seed, number], tf.int64)
        image, *partners = (tf.constant(each, tf.int64) for each in row)
        draws = [lambda partner=partner: read(partner) for partner in partners]
        canvas, valid_size, boxes, class_ids = augmenter.draw(read(image), draws, seed)
        height, width = (int(side) for side in valid_size)
        images.append(AugmentedImage(canvas.numpy()[:height, :width], boxes.numpy(), class_ids.numpy()))
    return images


def images_of_step(stream: InputConfig, num_partners: int, step: int) -> list[BatchImage]:
    """Returns descriptions of the images of step number `step` (1-based), including partners of mosaic and mixup."""
    index = index_records(stream.files)
    order = Sampler(index, stream.seed, stream.weights, num_partners)
    first = 0 if stream.repeat_first_batch else (step - 1) * stream.batch_size
    passes: dict[int, tf.Tensor] = {}
    described = []
    for position in range(first, first + stream.batch_size):
        number, row = divmod(position, len(index))
        if number not in passes:
            passes[number] = pass_rows(order, number)
        image, *partners = (_image(RecordReader(index), record) for record in passes[number][row])
        description: BatchImage = {
            "image": _name(image),
            "boxes": _summarize_boxes([obj.box for obj in image.objects], image),
        }
        if partners:
            description["may_be_mixed_with"] = [_name(partner) for partner in partners]
        described.append(description)
    return described


def _image(read: RecordReader, record: int) -> AnnotatedImage:
    return decode_example(read(tf.constant(record, tf.int64)).numpy())


def _name(image: AnnotatedImage) -> str:
    return image.filename or image.source_id


def _summarize_boxes(boxes: Sequence[Sequence[float]], image: AnnotatedImage) -> BoxSummary:
    sides = [side for y0, x0, y1, x1 in boxes for side in (y1 - y0, x1 - x0)]
    # Half a pixel is rounding.
    inside = [
        y0 >= -0.5 and x0 >= -0.5 and y1 <= image.height + 0.5 and x1 <= image.width + 0.5 for y0, x0, y1, x1 in boxes
    ]
    return {
        "count": len(boxes),
        "shortest_side": round(float(min(sides, default=0)), 2),
        "longest_side": round(float(max(sides, default=0)), 2),
        "outside": inside.count(False),
    }
