"""Steps of tfdet's pipelines, eagerly and in a graph: images, boxes, labels and masks stay consistent."""

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.pipeline_steps import STEPS, read_step

SEED = tf.constant([3, 5])


def sample(height: int = 60, width: int = 100) -> dict[str, tf.Tensor]:
    """Returns an image whose red and green are its rows and columns, with boxes in the middle and in two corners."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1)
    boxes = np.float32([[0.4, 0.4, 0.6, 0.6], [0.0, 0.0, 0.1, 0.1], [0.0, 0.7, 1.0, 1.0]])
    masks = np.zeros((3, height, width), np.uint8)
    return {
        "id": tf.constant("a.jpg"),
        "image": tf.constant(image),
        "bboxes": tf.constant(boxes),
        "labels": tf.constant([[0], [1], [2]]),
        "areas": tf.constant((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) * height * width),
        "mask": tf.ones((3, 1), tf.int32),
        "image_masks": tf.constant(masks),
    }


def applied(step: dict, given: dict | None = None, seed: tf.Tensor = SEED) -> dict[str, np.ndarray]:
    """Returns the sample after a step in a `tf.data` graph, checked against the eager one."""
    given = sample() if given is None else given
    function = read_step(step)
    eager = {key: value.numpy() for key, value in function(given, seed).items()}
    dataset = tf.data.Dataset.from_tensors(given).map(lambda value: function(value, seed))
    traced = next(iter(dataset.as_numpy_iterator()))
    for key, value in eager.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            np.testing.assert_allclose(traced[key], value, atol=1e-3)
    counts = {len(traced[key]) for key in ("bboxes", "labels", "areas", "mask", "image_masks") if key in traced}
    assert len(counts) <= 1, "the lists of objects must stay together"
    return traced


def test_center_crop_clips_and_drops() -> None:
    out = applied({"name": "CenterCrop", "height": 30, "width": 50})
    np.testing.assert_allclose(out["image"][0, 0], [15, 25, 0])
    assert out["image"].shape == (30, 50, 3)
    # Rows 24 to 36 of 60 and columns 40 to 60 of 100; the corner is gone, the right side is clipped to 70 to 75.
    np.testing.assert_allclose(out["bboxes"], [[9 / 30, 15 / 50, 21 / 30, 35 / 50], [0, 45 / 50, 1, 1]], atol=1e-6)
    assert out["labels"].ravel().tolist() == [0, 2]
    np.testing.assert_allclose(out["areas"], [12 * 20, 30 * 5], rtol=1e-5)
    assert out["image_masks"].shape == (2, 30, 50)
    with pytest.raises(tf.errors.InvalidArgumentError, match="CenterCrop needs 61x50 pixels"):
        applied({"name": "CenterCrop", "height": 61, "width": 50})


@pytest.mark.parametrize("name", ["RandomResizedCrop", "RandomResized", "RandomSized"])
def test_random_crops_keep_boxes_on_their_pixels(name: str) -> None:
    keys = {"min_max_height": [20, 50], "w2h_ratio": 1.5} if name == "RandomSized" else {"scale": [0.2, 0.6]}
    images = set()
    for number in range(8):
        out = applied({"name": name, "height": 48, "width": 72, **keys}, seed=tf.constant([number, 1]))
        assert out["image"].shape == (48, 72, 3)
        images.add(float(out["image"][0, 0, 0]))
        assert ((out["bboxes"] >= 0) & (out["bboxes"] <= 1)).all()
        for box, label in zip(out["bboxes"], out["labels"].ravel(), strict=True):
            if label == 0:
                center = (box[:2] + box[2:]) / 2 * [48, 72]
                row, column = np.clip(center.astype(int), 0, [47, 71])
                assert 23 <= out["image"][row, column, 0] <= 37
                assert 39 <= out["image"][row, column, 1] <= 61
    assert len(images) > 3


def test_random_resized_crop_of_an_image_that_fits_no_proportion() -> None:
    out = applied({"name": "RandomResizedCrop", "height": 8, "width": 8, "scale": [0.9, 1.0]}, sample(20, 400))
    # The middle: 20 rows and 26 columns.
    assert out["image"][..., 1].min() >= 186
    assert out["image"][..., 1].max() <= 214


@pytest.mark.parametrize(
    ("step", "size"),
    [
        ({"name": "LongestMaxSize", "max_size": 50}, (30, 50)),
        ({"name": "SmallestMaxSize", "max_size": 30}, (30, 50)),
        ({"name": "resize", "height": 33, "width": 44}, (33, 44)),
        ({"name": "RandomScale", "scale_limit": [0.5, 0.5], "p": 1.0}, (90, 150)),
    ],
)
def test_resizing_keeps_relative_boxes(step: dict, size: tuple[int, int]) -> None:
    out = applied(step)
    assert out["image"].shape == (*size, 3)
    np.testing.assert_array_equal(out["bboxes"], sample()["bboxes"].numpy())
    np.testing.assert_allclose(out["areas"], sample()["areas"].numpy() * size[0] * size[1] / 6000, rtol=1e-5)


def test_random_scale_stays_near_one() -> None:
    heights = {applied({"name": "RandomScale", "p": 1.0}, seed=tf.constant([n, 0]))["image"].shape[0] for n in range(9)}
    assert min(heights) >= 54
    assert max(heights) <= 66
    assert len(heights) > 2


def test_p_and_always_apply() -> None:
    step = {"name": "resize", "height": 5, "width": 5, "p": 0.0}
    assert applied(step)["image"].shape == (60, 100, 3)
    assert applied(step | {"always_apply": True})["image"].shape == (5, 5, 3)
    half = [applied(step | {"p": 0.5}, seed=tf.constant([n, 0]))["image"].shape[0] for n in range(12)]
    assert set(half) == {5, 60}


def test_normalize() -> None:
    out = applied({"name": "Normalize"})
    expected = (sample()["image"].numpy() - 255 * np.float32([0.485, 0.456, 0.406])) / (
        255 * np.float32([0.229, 0.224, 0.225])
    )
    np.testing.assert_allclose(out["image"], expected, rtol=1e-5, atol=1e-5)


def test_compose_and_one_of() -> None:
    steps = [{"name": "resize", "height": 10, "width": 20}, {"name": "resize", "height": 30, "width": 40}]
    assert applied({"name": "compose", "list_pipeline": steps})["image"].shape == (30, 40, 3)
    sizes = {
        applied({"name": "OneOf", "list_pipeline": steps}, seed=tf.constant([n, 0]))["image"].shape for n in range(10)
    }
    assert sizes == {(10, 20, 3), (30, 40, 3)}


def test_keep_and_process_bbox() -> None:
    out = applied({"name": "KeepAndProcessBBox"})
    assert list(out) == ["id", "image", "bboxes", "labels", "mask"]
    np.testing.assert_allclose(out["bboxes"][0], [24, 40, 36, 60], rtol=1e-5)
    assert set(applied({"name": "KeepAndProcessBBox", "keep_dict": "all"})) == set(sample())
    with pytest.raises(ValueError, match="keep_dict names box"):
        applied({"name": "KeepAndProcessBBox", "keep_dict": ["box"]})


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"name": "CentreCrop"}, "Unknown name of step 'CentreCrop'. Did you mean centercrop"),
        ({"name": "resize", "hight": 3, "width": 3}, "Unknown key of step 'hight'. Did you mean height"),
        ({"name": "resize", "height": 3}, "step must have width"),
        ({"name": "Normalize", "p": 2}, "p must be 0 to 1"),
        ({"name": "Normalize", "dynamic": True}, "dynamic must be false"),
        ({"name": "Normalize", "deterministic": "maybe"}, "deterministic must be 'true' or 'false'"),
        ({"name": "Normalize", "num_parallel_calls": 0}, "num_parallel_calls must be AUTO"),
        ({"name": "RandomScale", "scale_limit": 1.5}, "scale_limit must give factors above 0"),
        ({"name": "resize", "height": 3, "width": 3, "interpolation": "cubic"}, "interpolation must be one of"),
        ({"name": "OneOf", "list_pipeline": [{"name": "no"}]}, "Unknown name of step 'no'"),
    ],
)
def test_read_step_refuses(step: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_step(step)


def test_steps_are_twelve_with_the_reader() -> None:
    assert len({*STEPS.values()}) == 11
