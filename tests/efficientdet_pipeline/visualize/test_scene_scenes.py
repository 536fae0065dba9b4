"""Records as annotated figures."""

import io

import numpy as np
from PIL import Image

from efficientdet_pipeline.visualize.annotated_figure import record_figure, sample_figure
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject


def png(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def image(*objects: AnnotatedObject, **more: object) -> AnnotatedImage:
    return AnnotatedImage(filename="folder/a photo.jpg", objects=objects, height=4, width=6, **more)


PHOTO = np.zeros((4, 6, 3), np.uint8)


def test_scene_scenes_record_shows_its_boxes_and_its_name() -> None:
    things = AnnotatedObject("cat", (0, 1, 2, 3), 2), AnnotatedObject("cat", (1, 1, 2, 2), 1, is_crowd=True)
    figure = record_figure(image(*things), PHOTO)
    assert figure.boxes.tolist() == [[0, 1, 2, 3], [1, 1, 2, 2]]
    assert figure.class_ids.tolist() == [2, 1]
    assert figure.crowd == {1}
    assert figure.caption == "a photo.jpg · 6×4 px · 2 boxes"
    assert figure.tints == []


def test_scene_scenes_masks_of_objects_lie_large_ones_first() -> None:
    small, large = np.zeros((4, 6)), np.ones((4, 6))
    small[0, 0] = 1
    things = (
        AnnotatedObject("cat", (0, 0, 1, 1), 1, mask=png(small)),
        AnnotatedObject("dog", (0, 0, 4, 6), 2, mask=png(large)),
    )
    figure = record_figure(image(*things), PHOTO)
    assert [(class_id, int(area.sum())) for class_id, area in figure.tints] == [(2, 24), (1, 1)]


def test_scene_scenes_image_of_classes_leaves_out_background_and_what_does_not_count() -> None:
    classes = np.zeros((4, 6))
    classes[0], classes[1], classes[2, :2] = 1, 255, 3
    figure = record_figure(image(segmentation=png(classes)), PHOTO)
    assert [(class_id, int(area.sum())) for class_id, area in figure.tints] == [(1, 6), (3, 2)]
    assert figure.caption.endswith("0 boxes")


def test_scene_scenes_sample_tells_how_many_boxes_are_left() -> None:
    of = record_figure(image(*[AnnotatedObject("cat", (0, 0, 1, 1), 1)] * 3), PHOTO)
    sample = sample_figure(PHOTO, np.zeros((1, 4)), np.ones(1), of)
    assert sample.caption == "a photo.jpg · 1 box (before: 3)"
