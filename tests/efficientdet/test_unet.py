"""Tests of U-Nets: numbers of parameters, and logits for images of any size."""

from pathlib import Path

import keras
import numpy as np
import pytest
from efficientdet.backbones.stages import block_specs, last_of_levels
from efficientdet.imagenet import build_encoder, imagenet_config
from efficientdet.unet import (
    SCSE_RATIO,
    Node,
    UNetConfig,
    bilinear_doubled,
    build_unet,
    class_map,
    decoder_graph,
    nearest_doubled,
    pad_to_stride,
    probabilities,
)
from keras import ops

ENCODERS = [*(f"efficientnet-b{number}" for number in range(8)), "efficientnet-lite0", "efficientnet-lite4"]


def block_parameters(channels: int, filters: int) -> int:
    convolutions = 9 * channels * filters + 9 * filters * filters + channels * filters + 3 * filters
    return convolutions + 2 * 4 * filters


def decoder_parameters(name: str, columns: int) -> int:
    """Computes the table's formula: bottom, four levels with skips, the image, and the last convolution."""
    specs = block_specs(name)
    one, two, three, four, five = (specs[index].filters_out for index in last_of_levels(specs))
    total = block_parameters(five, five)
    for coarser, filters in ((five, four), (four, three), (three, two), (two, one)):
        total += block_parameters(coarser + filters, filters)
    return total + block_parameters(one + 3, one) + (one + 1) * columns


def test_build_unet_has_the_parameters_of_the_table() -> None:
    model = build_unet(UNetConfig())
    assert model.count_params() == 6_292_797
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 41_568
    assert model.backbone.count_params() == 3_634_844
    table = [1_949_120, 597_968, 75_640, 20_808, 8_880, 5_520]
    assert [block.count_params() for block in model.blocks] == table
    for classes, total in ((1, 6_292_797), (150, 6_295_330), (151, 6_295_347), (21, 6_293_137)):
        config = UNetConfig(num_classes=classes)
        assert config.num_columns * 17 + 6_292_780 == total
    assert build_unet(UNetConfig(num_classes=151)).count_params() == 6_295_347


@pytest.mark.parametrize("name", ["efficientnet-b3", "efficientnet-lite0"])
def test_build_unet_follows_the_formula(name: str) -> None:
    model = build_unet(UNetConfig(backbone_name=name, num_classes=21))
    assert model.count_params() == model.backbone.count_params() + decoder_parameters(name, 21)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_unet_parameters_of_every_encoder(name: str) -> None:
    encoder = build_encoder(name)
    encoder.build((None, None, None, 3))
    model = build_unet(UNetConfig(backbone_name=name, num_classes=21))
    assert model.count_params() == encoder.count_params() + decoder_parameters(name, 21)


def test_unet_takes_any_size_and_gives_it_back() -> None:
    model = build_unet(UNetConfig(num_classes=5))
    for size in ((1, 1), (33, 64)):
        assert model(np.zeros((2, *size, 3), np.float32)).shape == (2, *size, 5)


def test_pad_to_stride_and_unknown_sizes() -> None:
    assert pad_to_stride(np.ones((1, 33, 64, 3))).shape == (1, 64, 64, 3)
    if keras.backend.backend() != "tensorflow":
        pytest.skip("JAX knows every size while it traces")
    import tensorflow as tf

    model = build_unet(UNetConfig(num_classes=3))
    images = np.random.default_rng(0).normal(size=(1, 45, 70, 3)).astype("float32")
    function = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])
    np.testing.assert_allclose(function(images), model(images), atol=2e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"upsample": "transpose", "skip": "residual", "scse": True, "hypercolumn": True},
        {"upsample": "bilinear", "concat_input": False, "graph": "unet++"},
    ],
    ids=str,
)
def test_unet_with_options_survives_saving(options: dict, tmp_path: Path) -> None:
    images = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype("float32")
    model = build_unet(UNetConfig(num_classes=3, **options))
    logits = model(images)
    assert logits.shape == (1, 32, 32, 3)
    assert np.isfinite(np.asarray(logits)).all()
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    twin = type(model).from_config(model.get_config())
    assert twin.config == model.config
    twin.load_weights(path)
    np.testing.assert_array_equal(np.asarray(twin(images)), np.asarray(logits))


def test_unet_residual_skips_are_branches_before_the_sum() -> None:
    """The last block of level 3 of B0, 3b, adds its input: the two skips differ by just that."""
    from efficientdet.unet import _residual_maps

    encoder = build_encoder("efficientnet-b0")
    encoder.build((None, None, None, 3))
    images = np.random.default_rng(2).normal(size=(1, 64, 64, 3)).astype("float32")
    outputs, branches = encoder(images), _residual_maps(encoder, images, None, False)
    x = encoder.stem(images)
    for block in encoder.blocks[:4]:
        x = block(x)
    np.testing.assert_allclose(np.asarray(branches[2] + x), np.asarray(outputs[3]), atol=1e-5)
    for level in (1, 5):  # 1a and 7a of B0 are no residual blocks.
        np.testing.assert_array_equal(np.asarray(branches[level - 1]), np.asarray(outputs[level]))


def test_unet_hypercolumn_equals_a_convolution_of_maps_laid_side_by_side() -> None:
    model = build_unet(UNetConfig(num_classes=3, hypercolumn=True))
    generator = np.random.default_rng(4)
    maps = [
        generator.normal(size=(1, 64 >> level, 64 >> level, model.filters[level])).astype("float32")
        for level in range(6)
    ]
    wide = []
    for level, coarse in enumerate(maps):
        doubled = coarse
        for _ in range(level):
            doubled = bilinear_doubled(doubled)
        wide.append(doubled)
    expected = model.predict(ops.concatenate(wide, axis=-1))
    np.testing.assert_allclose(np.asarray(model._logits(maps)), np.asarray(expected), atol=1e-4)


def test_unet_doubling_matches_its_definition() -> None:
    x = np.random.default_rng(5).normal(size=(2, 3, 4, 5)).astype("float32")
    np.testing.assert_array_equal(np.asarray(nearest_doubled(x)), x.repeat(2, axis=1).repeat(2, axis=2))
    expected = np.empty((2, 6, 8, 5))
    for row in range(6):
        for column in range(8):
            y, z = np.clip((row + 0.5) / 2 - 0.5, 0, 2), np.clip((column + 0.5) / 2 - 0.5, 0, 3)
            y0, z0 = int(y), int(z)
            y1, z1 = min(y0 + 1, 2), min(z0 + 1, 3)
            a, b = y - y0, z - z0
            top, below = (x[:, i, z0] * (1 - b) + x[:, i, z1] * b for i in (y0, y1))
            expected[:, row, column] = top * (1 - a) + below * a
    np.testing.assert_allclose(np.asarray(bilinear_doubled(x)), expected, atol=1e-5)


def test_decoder_graph_of_unet_and_of_unet_plus_plus() -> None:
    unet = decoder_graph("unet", concat_input=True)
    assert unet[0] == Node(5, None, (5,))
    assert unet[1] == Node(4, 6, (4,))
    assert unet[-1] == Node(0, 10, (0,))
    assert decoder_graph("unet", concat_input=False)[-1] == Node(0, 10, ())
    nested = decoder_graph("unet++", concat_input=True)
    assert len(nested) == 1 + 5 + 4 + 3 + 2 + 1
    # The last node sees the image, the four nodes of level 0 before it, and the newest of level 1.
    level_zero = [6 + number for number, node in enumerate(nested) if node.level == 0]
    assert nested[-1].same_level == (0, *level_zero[:-1])
    level_one = [6 + number for number, node in enumerate(nested) if node.level == 1]
    assert nested[-1].coarser == level_one[-1]
    for number, node in enumerate(nested):
        assert max((node.coarser or 0, *node.same_level)) < 6 + number


def test_unet_scse_has_its_gates() -> None:
    plain, excited = (build_unet(UNetConfig(scse=scse)) for scse in (False, True))
    more = sum(
        channels * 2 * max(1, channels // SCSE_RATIO) + max(1, channels // SCSE_RATIO) + 2 * channels + 1
        for channels in (320, 112, 40, 24, 16, 16)
    )
    assert excited.count_params() - plain.count_params() == more


def test_probabilities_and_class_map() -> None:
    one = np.array([[[[-1.0], [0.0], [2.0]]]], np.float32)
    assert np.asarray(class_map(one)).tolist() == [[[0, 1, 1]]]
    np.testing.assert_allclose(np.asarray(probabilities(one)).ravel(), 1 / (1 + np.exp(-one.ravel())), rtol=1e-6)
    many = np.array([[[[1.0, 3.0, 2.0]]]], np.float32)
    assert np.asarray(class_map(many)).tolist() == [[[1]]]
    assert np.asarray(probabilities(many)).sum() == pytest.approx(1)


def test_unet_training_call_moves_the_drop_path_seed_of_deeper_encoders() -> None:
    assert build_unet(UNetConfig()).drop_path_seed is None
    model = build_unet(UNetConfig(backbone_name="efficientnet-lite0"))
    images = np.random.default_rng(6).normal(size=(2, 32, 32, 3)).astype("float32")
    model.set_drop_path(7, 3)
    first = np.asarray(model(images, training=True))
    model.set_drop_path(7, 3)
    np.testing.assert_allclose(np.asarray(model(images, training=True)), first, atol=1e-4)
    assert not np.allclose(np.asarray(model(images, training=True)), first, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"upsample": "cubic"}, "upsample must be one of nearest, bilinear, transpose"),
        ({"skip": "none"}, "skip must be one of output, residual"),
        ({"graph": "unet3"}, r"graph must be one of unet, unet\+\+"),
        ({"num_classes": 0}, "num_classes must be from 1 to 255"),
        ({"num_classes": 256}, "num_classes must be from 1 to 255"),
        ({"backbone_name": "efficientnet-b9"}, "Unknown network 'efficientnet-b9'.*Known: efficientnet-b0"),
    ],
)
def test_unet_config_refuses(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        UNetConfig(**options)


def test_imagenet_config_of_each_family() -> None:
    b3, lite3 = imagenet_config("efficientnet-b3"), imagenet_config("efficientnet-lite3")
    assert (b3.image_size, b3.act_type, b3.head_filters, b3.resize_method) == (300, "swish", 1536, "bicubic")
    assert b3.mean_rgb == pytest.approx((123.675, 116.28, 103.53))
    assert b3.stddev_rgb == pytest.approx((58.395, 57.12, 57.375))
    assert (lite3.image_size, lite3.act_type, lite3.head_filters) == (280, "relu6", 1280)
    assert (lite3.mean_rgb[0], lite3.stddev_rgb[0], lite3.resize_method) == (127.0, 128.0, "bilinear")
    assert imagenet_config("efficientnet-b3", advprop=True).mean_rgb == (127.5, 127.5, 127.5)
    with pytest.raises(ValueError, match="has no AdvProp checkpoint"):
        imagenet_config("efficientnet-lite0", advprop=True)
