"""Features: shapes for any size, files, drawings, named layers, and the test for trained weights."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from efficientdet.imagenet import build_encoder, imagenet_config

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.inference.features import (
    channel_grid,
    extract_reductions,
    layer_map,
    named_layers,
    network_input,
    read_reductions,
    trained_statistic,
    write_reductions,
)


@pytest.fixture(scope="module")
def encoder() -> Any:
    keras.utils.set_random_seed(0)
    found = build_encoder("efficientnet-b0")
    found.build((None, None, None, 3))
    return found


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_network_input_is_normalized_at_its_own_size() -> None:
    config = imagenet_config("efficientnet-b0")
    found = network_input(image(5, 7), "efficientnet-b0")
    assert (found.shape, found.dtype) == ((1, 5, 7, 3), np.float32)
    np.testing.assert_allclose(found[0] * config.stddev_rgb + config.mean_rgb, image(5, 7), atol=1e-3)
    with pytest.raises(DataError, match="must be uint8 RGB"):
        network_input(np.zeros((5, 7), np.uint8), "efficientnet-b0")


def test_extract_reductions_halves_rounding_up_and_survives_a_file(encoder: Any, tmp_path: Path) -> None:
    # 1400x2100 gives 700x1050, 350x525, 175x263, 88x132, 44x66; here it is a twentieth.
    found = extract_reductions(encoder, network_input(image(70, 105), "efficientnet-b0"))
    assert {level: x.shape for level, x in found.items()} == {
        1: (35, 53, 16), 2: (18, 27, 24), 3: (9, 14, 40), 4: (5, 7, 112), 5: (3, 4, 320)
    }  # fmt: skip
    path = write_reductions(tmp_path / "new" / "features.npz", found)
    again = read_reductions(path)
    assert again.keys() == found.keys()
    np.testing.assert_array_equal(again[4], found[4])
    assert [each.name for each in path.parent.iterdir()] == ["features.npz"]
    (tmp_path / "other.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="must be an npz of reductions"):
        read_reductions(tmp_path / "other.npz")


@pytest.mark.slow
def test_extract_reductions_of_the_large_image(encoder: Any) -> None:
    found = extract_reductions(encoder, network_input(image(1400, 2100), "efficientnet-b0"))
    shapes = [(700, 1050, 16), (350, 525, 24), (175, 263, 40), (88, 132, 112), (44, 66, 320)]
    assert [x.shape for x in found.values()] == shapes


def test_channel_grid_stretches_each_channel() -> None:
    values = np.zeros((4, 8, 20))
    values[..., 3] = np.linspace(-1, 1, 32).reshape(4, 8)
    grid = channel_grid(values, channels=[3, 5], side=80)
    assert grid.shape == (40 + 8, 2 * (80 + 4) + 4)
    cells = grid[4:44, 4:84], grid[4:44, 88:168]
    assert (cells[0].min(), cells[0].max()) == (0, 255)
    assert (cells[1] == 0).all()
    assert channel_grid(values, count=16).shape == (4 * 84 + 4, 4 * 164 + 4)
    np.testing.assert_array_equal(channel_grid(values, seed=1), channel_grid(values, seed=1))
    with pytest.raises(OptionsError, match="Channels must be from 0 to 19"):
        channel_grid(values, channels=[20])
    with pytest.raises(DataError, match="NaN or infinity"):
        channel_grid(np.full((2, 2, 1), np.nan))


def test_layer_map_of_a_block_is_its_reduction(encoder: Any) -> None:
    inputs = network_input(image(64, 64), "efficientnet-b0")
    names = named_layers(encoder)
    assert {"stem_conv", "block_0", "block_15/project_norm", "block_3/squeeze_excite/expand"} <= names.keys()
    reductions = extract_reductions(encoder, inputs)
    np.testing.assert_array_equal(layer_map(encoder, inputs, "block_15"), reductions[5])
    assert layer_map(encoder, inputs, "block_3/squeeze_excite/expand").shape == (144,)
    # The recording wrapper is removed.
    np.testing.assert_array_equal(extract_reductions(encoder, inputs)[5], reductions[5])
    with pytest.raises(OptionsError, match=r"Unknown layer 'block_99'\. Similar names: block_9"):
        layer_map(encoder, inputs, "block_99")


def test_trained_statistic_calls_random_weights_random(encoder: Any) -> None:
    found = trained_statistic(encoder)
    assert not found.is_trained
    assert abs(found.score) < 4
    assert found.moved_norms == 0
    assert "untrained" in str(found)


def test_trained_statistic_sees_heavy_tails_and_statistics_of_data() -> None:
    encoder = build_encoder("efficientnet-lite0")
    encoder.build((None, None, None, 3))
    generator = np.random.default_rng(1)
    for weight in encoder.weights:
        if "kernel" in weight.name:
            weight.assign(generator.laplace(size=tuple(weight.shape)))
    half = trained_statistic(encoder)
    assert half.score > 6
    assert not half.is_trained
    for layer in named_layers(encoder).values():
        if hasattr(layer, "moving_mean"):
            layer.moving_mean.assign(generator.normal(size=tuple(layer.moving_mean.shape)))
    found = trained_statistic(encoder)
    assert found.is_trained
    assert found.moved_norms == 1
    assert str(found).startswith("The weights look trained.")
