"""Tests of heads: convolutions shared by levels, and separate batch statistics."""

import math

import numpy as np
import pytest
from efficientdet.config import get_config
from efficientdet.heads.box_head import build_box_head
from efficientdet.heads.class_head import build_class_head
from efficientdet.heads.mask_head import MaskHead
from keras import ops

SHAPES = {3: (2, 8, 8, 64), 4: (2, 4, 4, 64), 5: (2, 2, 2, 64)}
PYRAMID = {level: np.random.RandomState(level).normal(size=shape).astype(np.float32) for level, shape in SHAPES.items()}
CONFIG = get_config("efficientdet-d0", num_classes=5, max_level=5, num_scales=2)


def test_heads_outputs_are_anchor_by_anchor() -> None:
    for build, columns in ((build_class_head, 5), (build_box_head, 4)):
        head = build(CONFIG)
        head.build(SHAPES)
        outputs = head(PYRAMID)
        assert {level: tuple(x.shape) for level, x in outputs.items()} == {
            level: (*shape[:3], 6 * columns) for level, shape in SHAPES.items()
        }


def test_heads_initial_scores_are_one_percent() -> None:
    class_head, box_head = build_class_head(CONFIG), build_box_head(CONFIG)
    for head in (class_head, box_head):
        head.build(SHAPES)
    np.testing.assert_allclose(class_head.predict.bias.numpy(), -math.log(99), rtol=1e-6)
    np.testing.assert_array_equal(box_head.predict.bias.numpy(), 0)


def test_heads_convolutions_are_shared_and_statistics_are_not() -> None:
    head = build_box_head(CONFIG)
    head.build(SHAPES)
    assert len(head.convs) == 3
    assert [list(norms) for norms in head.norms] == [["3", "4", "5"]] * 3
    head(PYRAMID, training=True)
    means = [head.norms[0][level].moving_mean.numpy() for level in "345"]
    assert (means[0] != means[1]).any()
    assert (means[1] != means[2]).any()


def test_heads_full_convolutions_in_place_of_separable_ones() -> None:
    head = build_box_head(CONFIG.override("separable_conv=false"))
    head.build(SHAPES)
    assert [tuple(weight.shape) for weight in head.convs[0].weights] == [(3, 3, 64, 64), (64,)]
    assert head.predict.kernel.numpy().std() == pytest.approx(0.01, rel=0.05)


def test_heads_with_a_survival_probability_layers_are_residual_in_inference_too() -> None:
    plain, residual = build_box_head(CONFIG), build_box_head(CONFIG.override("survival_prob=0.5"))
    for head in (plain, residual):
        head.build(SHAPES)
    for ours, theirs in zip(residual.weights, plain.weights, strict=True):
        ours.assign(theirs)
    x = ops.convert_to_tensor(PYRAMID[3])
    for repeat, (conv, norms) in enumerate(zip(plain.convs, plain.norms, strict=True)):
        result = ops.silu(norms["3"](conv(x)))
        x = result + x if repeat else result
    expected = ops.convert_to_numpy(plain.predict(x))
    np.testing.assert_allclose(ops.convert_to_numpy(residual(PYRAMID)[3]), expected, atol=1e-5)

    trained = [ops.convert_to_numpy(residual(PYRAMID, seed=[0, step], training=True)[3]) for step in (1, 1, 2, 3, 4)]
    np.testing.assert_array_equal(trained[0], trained[1])
    assert any((trained[0] != other).any() for other in trained[2:])


def test_head_without_layers_only_predicts() -> None:
    head = build_box_head(CONFIG.override("box_class_repeats=0"))
    head.build(SHAPES)
    assert len(head.weights) == 3
    assert head(PYRAMID)[5].shape == (2, 2, 2, 24)


def test_heads_masks_have_twice_the_size_of_the_finest_level() -> None:
    head = MaskHead(CONFIG.override("seg_num_classes=7"))
    head.build(SHAPES)
    assert head(PYRAMID).shape == (2, 16, 16, 7)
    assert [tuple(upsample.kernel.shape) for upsample in head.upsamples] == [(3, 3, 64, 64), (3, 3, 64, 128)]
