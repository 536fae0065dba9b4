"""Joint augmentation of image and semantic map."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientdet_pipeline.augment.semantic_map import (
    IGNORE_ID,
    SemanticAugmentConfig,
    SemanticSample,
    apply_jointly,
    decode_semantic_map,
    fit_semantic_sample,
    random_window,
    semantic_augmenter,
)
from efficientdet_pipeline.augment.variation import random_rotation, vertical_flip


def blocks(height: int, width: int) -> SemanticSample:
    """Returns an image whose colour is 20 times its map, in blocks of 16 pixels."""
    generator = np.random.default_rng(0)
    small = generator.integers(1, 10, (height // 16, width // 16), dtype=np.uint8)
    values = small.repeat(16, axis=0).repeat(16, axis=1)
    return SemanticSample(tf.constant(np.stack([values * 20] * 3, -1)), tf.constant(values))


def agreement(image: np.ndarray, semantic_map: np.ndarray) -> float:
    counted = semantic_map != IGNORE_ID
    return float((np.abs(image[..., 0].astype(int) - 20 * semantic_map.astype(int))[counted] <= 1).mean())


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("size", [(64, 96), (160, 48)])
def test_semantic_augmenter_moves_image_and_map_alike(size: tuple[int, int], traced: bool) -> None:
    config = SemanticAugmentConfig(canvas_size=(96, 96), vertical_flip=0.5, rotation=20)
    sample, vary = blocks(*size), semantic_augmenter(config)
    vary = tf.function(vary) if traced else vary
    seen = []
    for number in range(4 if traced else 8):
        image, valid, semantic_map = (x.numpy() for x in vary(sample, tf.constant([1, number])))
        assert image.shape == (96, 96, 3)
        assert semantic_map.shape == (96, 96)
        assert semantic_map.dtype == np.uint8
        # Nearest neighbour and bilinear differ only at the borders of blocks.
        assert agreement(image, semantic_map) > 0.8
        assert (semantic_map[valid[0] :] == IGNORE_ID).all()
        assert (semantic_map[:, valid[1] :] == IGNORE_ID).all()
        assert set(np.unique(semantic_map)) <= {*range(1, 10), IGNORE_ID}
        seen.append(semantic_map.tobytes())
        again = vary(sample, tf.constant([1, number]))
        np.testing.assert_array_equal(again.semantic_map, semantic_map)
    assert len(set(seen)) > 2


def test_exact_geometry_keeps_every_pixel_in_place() -> None:
    sample = blocks(64, 96)
    sample = sample._replace(image=tf.cast(sample.image, tf.float32))
    config = SemanticAugmentConfig(canvas_size=(64, 64))
    changes = [vertical_flip, random_rotation(30), random_window(config, method="nearest")]
    for number, change in enumerate(changes):
        moved = apply_jointly(sample, tf.constant([5, number]), change)
        assert agreement(moved.image.numpy(), moved.semantic_map.numpy()) == 1.0
        if change is vertical_flip:
            np.testing.assert_array_equal(moved.semantic_map, sample.semantic_map.numpy()[::-1])


def test_rotation_ignores_what_it_brings_in() -> None:
    moved = apply_jointly(blocks(96, 96), tf.constant([0, 1]), random_rotation(40))
    outside = moved.semantic_map.numpy() == IGNORE_ID
    assert 0 < outside.mean() < 0.5
    assert (moved.image.numpy()[outside] == 128).all()


def test_color_leaves_the_map_alone() -> None:
    config = SemanticAugmentConfig(
        canvas_size=(64, 96), jitter_min=1, jitter_max=1, horizontal_flip=0, hsv_hue=0.1, hsv_value=0.5
    )
    sample = blocks(64, 96)
    found = semantic_augmenter(config)(sample, tf.constant([3, 4]))
    np.testing.assert_array_equal(found.semantic_map, sample.semantic_map)
    assert (found.image.numpy() != sample.image.numpy()).any()


def test_fit_semantic_sample_shows_the_whole_image() -> None:
    found = fit_semantic_sample(blocks(64, 128), (96, 64))
    assert found.valid_size.numpy().tolist() == [32, 64]
    np.testing.assert_array_equal(found.semantic_map[:32], blocks(64, 128).semantic_map.numpy()[1::2, 1::2])
    assert (found.semantic_map.numpy()[32:] == IGNORE_ID).all()


def test_decode_semantic_map() -> None:
    values = np.array([[0, 1], [255, 7], [3, 4]], np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    np.testing.assert_array_equal(decode_semantic_map(out.getvalue()), values)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"jitter_min": 3.0}, "at most jitter_max"), ({"vertical_flip": 2.0}, "vertical_flip must be a probability")],
)
def test_semantic_augment_config_refuses(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SemanticAugmentConfig(canvas_size=(64, 64), **options)
