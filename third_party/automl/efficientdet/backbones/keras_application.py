"""Networks of `keras.applications` as backbones: the last map of each resolution."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import keras

from efficientdet.automl.hparams import unknown_name
from efficientdet.types import Pyramid, Tensor

_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class _Inputs(NamedTuple):
    """Normalization and channel order of the inputs of a family of networks."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    is_bgr: bool = False


_RAW = _Inputs((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_SYMMETRIC = _Inputs((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
_TORCH = _Inputs(_IMAGENET_MEAN, _IMAGENET_STD)
_CAFFE = _Inputs((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), is_bgr=True)


def application_names() -> list[str]:
    """Returns the names of all networks of `keras.applications`."""
    return sorted(name for name in dir(keras.applications) if name[0].isupper())


def _inputs_of(name: str) -> _Inputs:
    # Networks of these families include their own rescaling.
    if name.startswith(("EfficientNet", "ConvNeXt", "MobileNetV3")):
        return _RAW
    if name.startswith("DenseNet"):
        return _TORCH
    if name.startswith("VGG") or (name.startswith("ResNet") and not name.endswith("V2")):
        return _CAFFE
    return _SYMMETRIC


@dataclass(frozen=True, kw_only=True)
class KerasApplicationPart:
    """A network of `keras.applications`, by its name there."""

    application: str
    input_size: tuple[int, int] = (512, 512)
    """(height, width) of images."""
    weights: str | None = None
    """imagenet: the weights published by Keras, downloaded on first use; a local file; or None for random weights."""

    def __post_init__(self) -> None:
        if self.application not in application_names():
            raise ValueError(unknown_name("application", self.application, application_names()))
        if min(self.input_size) < 32:
            raise ValueError(f"input_size must be 32 or more. Received {self.input_size}.")

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels of the output."""
        return _levels(self.application, self.input_size)

    @property
    def without_effect(self) -> list[str]:
        """Returns the given keys that have no effect in a detector."""
        return []

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean and standard deviation of the RGB pixels, 0 to 255, that the backbone expects."""
        return _inputs_of(self.application)[:2]

    def build(self) -> "KerasApplication":
        """Returns the network with its weights.

        Raises:
          ValueError: the weights cannot be downloaded or do not fit.
        """
        return KerasApplication(self, name="backbone")


class KerasApplication(keras.layers.Layer):
    """A network of `keras.applications` up to the last map of each resolution.

    Takes images `(b, h, w, 3)` of the config's size, RGB and normalized;
    returns `{level: (b, h, w, c)}` from level 1 up.
    """

    def __init__(self, part: KerasApplicationPart, **options: Any) -> None:
        super().__init__(**options)
        self.part = part
        self.is_bgr = _inputs_of(part.application).is_bgr
        network = _network(part)
        maps = _last_maps(network, part.input_size)
        self.levels = list(maps)
        self.network = keras.Model(network.inputs, list(maps.values()), name=part.application.lower())
        _name_variables(self.network)
        self.channels = {level: int(tensor.shape[-1]) for level, tensor in maps.items()}

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates nothing: the network is built already."""

    def call(self, images: Tensor, seed: Tensor | None = None, training: bool = False) -> Pyramid:
        maps = self.network(images[..., ::-1] if self.is_bgr else images, training=training)
        return dict(zip(self.levels, maps if isinstance(maps, (list, tuple)) else [maps], strict=True))


@cache
def _levels(application: str, image_size: tuple[int, int]) -> tuple[int, ...]:
    network = _network(KerasApplicationPart(application=application, input_size=image_size))
    return tuple(_last_maps(network, image_size))


def _network(part: KerasApplicationPart) -> keras.Model:
    build = getattr(keras.applications, part.application)
    try:
        return build(include_top=False, weights=part.weights, input_shape=(*part.input_size, 3))
    except Exception as error:
        # A download may raise many exceptions; without weights nothing is downloaded.
        if part.weights is None:
            raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"The weights {part.weights!r} of {part.application} cannot be loaded ({reason}). Without network, "
            "download the file without top from the Keras documentation on another machine and give its path as "
            "backbone.weights, or omit weights to train from random initialization."
        ) from error


def _name_variables(network: keras.Model) -> None:
    """Sets variable paths that depend only on the network; Keras numbers some layers per process."""
    seen: dict[str, int] = {}
    for variable in network.variables:
        layer, _, rest = variable.path.partition("/")
        kind = re.sub(r"_\d+$", "", layer)
        if kind in ("normalization", "seed_generator"):
            number = seen[kind] = seen.get(kind, -1) + (rest in ("mean", "seed_generator_state"))
            layer = f"{kind}_{number}"
        variable._path = f"backbone/{layer}/{rest}"


def _last_maps(network: keras.Model, image_size: tuple[int, int]) -> dict[int, Tensor]:
    """Returns {level: tensor}: the last output of each resolution, in the order of computation."""
    maps = {}
    for layer in network.layers[1:]:
        output = layer.output
        if isinstance(output, list) or len(output.shape) != 4 or not output.shape[1] or not output.shape[2]:
            continue
        level = round(math.log2(image_size[0] / output.shape[1]))
        # Outputs of squeeze-and-excitation branches have one pixel.
        is_gate = output.shape[1] == 1 and output.shape[2] == 1
        if level >= 1 and not is_gate and abs(image_size[1] / output.shape[2] / 2**level - 1) < 0.5:
            maps[level] = output
    return dict(sorted(maps.items()))
