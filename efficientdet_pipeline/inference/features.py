"""Features of an EfficientNet: its reductions, named layers, pictures, and a test for trained weights.

`h w` height and width, `c` channels. Level l has a resolution of about 1 / 2^l of the image.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from efficientdet_pipeline.errors import DataError, OptionsError

RANDOM_DRAWS = 10
TRAINED_SCORE = 6.0
"""Standard deviations from random networks above which weights count as trained."""


def network_input(image: np.ndarray, backbone_name: str, *, advprop: bool = False) -> np.ndarray:
    """Returns an image (1, h, w, 3), float32, at its own size, normalized as in the network's training.

    Args:
      image: uint8 RGB (h, w, 3).
      backbone_name: such as efficientnet-b0.
      advprop: whether the checkpoint is from AdvProp, with inputs from -1 to 1.
    """
    from efficientdet.imagenet import imagenet_config

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"An image must be uint8 RGB, (h, w, 3). Received {image.dtype} {image.shape}.")
    config = imagenet_config(backbone_name, advprop=advprop)
    normalized = (image - np.array(config.mean_rgb, np.float32)) / np.array(config.stddev_rgb, np.float32)
    return normalized[np.newaxis].astype(np.float32)


def extract_reductions(encoder: keras.layers.Layer, inputs: np.ndarray) -> dict[int, np.ndarray]:
    """Returns {level: (h, w, c)} of one image for levels 1 to 5.

    Args:
      encoder: from `efficientdet.imagenet.build_encoder`, or the `backbone` of a detector.
      inputs: (1, h, w, 3) of any size, from `network_input`.

    >>> {level: x.shape for level, x in extract_reductions(b0, image_of_1400_by_2100).items()}
    {1: (700, 1050, 16), 2: (350, 525, 24), 3: (175, 263, 40), 4: (88, 132, 112), 5: (44, 66, 320)}
    """
    pyramid = encoder(inputs, training=False)
    return {level: keras.ops.convert_to_numpy(x)[0] for level, x in sorted(pyramid.items())}


def write_reductions(path: str | Path, reductions: Mapping[int, np.ndarray]) -> Path:
    """Writes reductions as npz, reduction_1 to reduction_5, atomically; returns the path."""
    return write_arrays(path, {f"reduction_{level}": x for level, x in reductions.items()})


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes named arrays as npz, atomically; returns the path."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def read_reductions(path: str | Path) -> dict[int, np.ndarray]:
    """Returns the reductions that `write_reductions` wrote.

    Raises:
      DataError: it is another file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {int(name.removeprefix("reduction_")): file[name] for name in sorted(file.files)}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path} must be an npz of reductions, as --mode=features writes them: {error}.") from error


def channel_grid(
    feature_map: np.ndarray, *, channels: Sequence[int] | None = None, count: int = 16, seed: int = 0, side: int = 160
) -> np.ndarray:
    """Returns channels of a feature map as one grey image, uint8 (H, W), each normalized to its own range.

    Args:
      feature_map: (h, w, c).
      channels: channel indices; None draws `count` different ones by `seed`.
      count: number of drawn channels; all if there are fewer.
      seed: of the draw.
      side: longer side of each cell in pixels.

    Raises:
      OptionsError: the feature map has no such channel.
    """
    height, width, num_channels = feature_map.shape
    if channels is None:
        drawn = np.random.default_rng(seed).permutation(num_channels)[:count]
        channels = sorted(drawn.tolist())
    wrong = [channel for channel in channels if not 0 <= channel < num_channels]
    if wrong or not channels:
        raise OptionsError(f"Channels must be from 0 to {num_channels - 1}, one or more. Received {list(channels)}.")
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    columns = int(np.ceil(np.sqrt(len(channels))))
    rows = -(-len(channels) // columns)
    gap = 4
    sheet = np.full((rows * (size[1] + gap) + gap, columns * (size[0] + gap) + gap), 255, np.uint8)
    for number, channel in enumerate(channels):
        row, column = divmod(number, columns)
        cell = Image.fromarray(_stretched(feature_map[..., channel])).resize(size, Image.Resampling.NEAREST)
        top, left = gap + row * (size[1] + gap), gap + column * (size[0] + gap)
        sheet[top : top + size[1], left : left + size[0]] = np.asarray(cell)
    return sheet


def _stretched(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("A channel contains NaN or infinity: the weights or the image are damaged.")
    low, high = values.min(), values.max()
    return (
        np.zeros(values.shape, np.uint8) if high == low else np.rint(255 * (values - low) / (high - low)).astype("u1")
    )


def named_layers(encoder: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Returns every layer by its path, such as stem_conv, block_3 or block_3/squeeze_excite/expand."""
    return dict(_named(encoder, ""))


def _named(layer: keras.layers.Layer, scope: str) -> Iterator[tuple[str, keras.layers.Layer]]:
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        path = f"{scope}{inner.name}"
        yield path, inner
        yield from _named(inner, f"{path}/")


def find_layer(encoder: keras.layers.Layer, name: str) -> keras.layers.Layer:
    """Returns a layer of `named_layers`.

    Raises:
      OptionsError: there is no such layer.
    """
    import difflib

    layers = named_layers(encoder)
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=3, cutoff=0.4)
        raise OptionsError(
            f"Unknown layer {name!r}. Similar names: {', '.join(near) or 'none'}; --layer=list prints all "
            f"{len(layers)}.",
            option="layer",
        )
    return layers[name]


def layer_map(encoder: keras.layers.Layer, inputs: np.ndarray, name: str) -> np.ndarray:
    """Returns the output of a named layer for one image: (h, w, c), or (c,) within squeeze-excite.

    For a layer that is called several times, it is the last output.

    Args:
      encoder: as for `extract_reductions`.
      inputs: (1, h, w, 3).
      name: of `named_layers`.

    Raises:
      OptionsError: there is no such layer, or the network does not call it.
    """
    layer, seen = find_layer(encoder, name), []
    original = layer.call

    def recorded(*arguments: Any, **options: Any) -> Any:
        seen.append(original(*arguments, **options))
        return seen[-1]

    # Bypass Keras's __setattr__, which would track it.
    vars(layer)["call"] = recorded
    try:
        encoder(inputs, training=False)
    finally:
        vars(layer).pop("call", None)
    if not seen:
        raise OptionsError(
            f"The network does not call the layer {name!r}. Name one of its sublayers, or another layer."
        )
    return keras.ops.convert_to_numpy(seen[-1])[0]


@dataclass(frozen=True)
class TrainedStatistic:
    """Test whether a network's weights are trained. Its `str` explains the result."""

    kurtosis: float
    """Mean excess kurtosis of the convolutions' kernels."""
    random_kurtosis: float
    """The same of random networks, mean."""
    random_deviation: float
    """The same of random networks, standard deviation."""
    moved_norms: float
    """Share of the normalization layers whose statistics differ from the initial mean 0 and variance 1."""

    @property
    def score(self) -> float:
        """Distance of the kurtosis from random networks, in their standard deviations."""
        return (self.kurtosis - self.random_kurtosis) / max(self.random_deviation, 1e-12)

    @property
    def is_trained(self) -> bool:
        """Whether the kernels differ significantly from random ones and the normalizations have been updated."""
        return self.score > TRAINED_SCORE and self.moved_norms > 0.5

    def __str__(self) -> str:
        verdict = "trained" if self.is_trained else "untrained, or hardly trained"
        return (
            f"The weights look {verdict}. Training gives kernels many small and few large values, which excess "
            f"kurtosis measures: {self.kurtosis:.2f} here, {self.random_kurtosis:.2f} ± {self.random_deviation:.2f} in "
            f"{RANDOM_DRAWS} random networks of the same shapes, a distance of {self.score:.0f} standard deviations "
            f"(trained: above {TRAINED_SCORE:.0f}). {self.moved_norms:.0%} of the normalizations have updated "
            "statistics (an untrained network has none)."
        )


def trained_statistic(encoder: keras.layers.Layer, *, seed: int = 0) -> TrainedStatistic:
    """Tests whether the weights of an encoder are trained, against random networks of the same shapes.

    The statistic is the mean over convolutions of the excess kurtosis of the
    kernel's values: 0 for the normal distribution of initial kernels. It does
    not depend on the scale of the kernels.

    Args:
      encoder: built; as for `extract_reductions`.
      seed: of the random networks.
    """
    kernels, norms = [], []
    for layer in named_layers(encoder).values():
        weights = {
            weight.name: keras.ops.convert_to_numpy(weight) for weight in getattr(layer, "_trainable_variables", [])
        }
        kernels += [value for name, value in weights.items() if name in ("kernel", "depthwise_kernel")]
        if hasattr(layer, "moving_variance"):
            mean, variance = (keras.ops.convert_to_numpy(x) for x in (layer.moving_mean, layer.moving_variance))
            norms.append(bool(np.any(mean != 0) or np.any(variance != 1)))
    generator = np.random.default_rng(seed)
    draws = [
        np.mean([_excess_kurtosis(generator.standard_normal(kernel.size, dtype=np.float32)) for kernel in kernels])
        for _ in range(RANDOM_DRAWS)
    ]
    return TrainedStatistic(
        kurtosis=float(np.mean([_excess_kurtosis(kernel) for kernel in kernels])),
        random_kurtosis=float(np.mean(draws)),
        random_deviation=float(np.std(draws)),
        moved_norms=float(np.mean(norms)) if norms else 0.0,
    )


def _excess_kurtosis(values: np.ndarray) -> float:
    centered = values.astype(np.float64).ravel() - values.mean()
    variance = np.mean(centered**2)
    return float(np.mean(centered**4) / variance**2 - 3) if variance else 0.0
