"""Twin towers: one for classes, one for boxes, with prediction layers on top."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from efficientdet.heads.head_interface import Outputs, Tower
from efficientdet.layers import NumpyInitializer
from efficientdet.types import Pyramid

PRIOR = 0.01
"""Initial score of all priors, for the bias of score predictions."""
_SMALL = NumpyInitializer("normal", variance=0.01**2)


class Prediction(NamedTuple):
    """One output of a head."""

    tower: str
    """"class" or "box"."""
    channels: int
    is_score: bool
    """Whether it is the logit of a score, initialized to a score of 1 %."""


class TwinTowers(keras.layers.Layer):
    """Two towers of convolutions and a 1x1 convolution for each prediction, shared by all levels.

    Takes `{level: (b, h, w, c)}`; returns `{name: {level: (b, h, w, channels)}}`, float32.
    """

    def __init__(
        self,
        predictions: Mapping[str, Prediction],
        levels: range,
        *,
        filters: int,
        repeats: int,
        act: str,
        norm: str,
        separable: bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.predictions = dict(predictions)
        self.filters = filters
        self.towers = {
            name: Tower(filters, repeats, act=act, norm=norm, separable=separable, levels=levels, name=f"{name}_tower")
            for name in ("class", "box")
        }
        bias = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
        self.convs = {
            name: keras.layers.Conv2D(
                prediction.channels,
                1,
                kernel_initializer=_SMALL,
                bias_initializer=bias if prediction.is_score else "zeros",
                name=f"{name}_predict",
            )
            for name, prediction in self.predictions.items()
        }

    def build(self, input_shapes: dict[int, Sequence[int | None]]) -> None:
        shape = next(iter(input_shapes.values()))
        for tower in self.towers.values():
            tower.build(shape)
        inside = (*shape[:-1], self.filters) if self.towers["class"].convs else shape
        for conv in self.convs.values():
            conv.build(inside)

    def call(self, pyramid: Pyramid, training: bool = False) -> Outputs:
        features = {name: tower(pyramid, training=training) for name, tower in self.towers.items()}
        return {
            name: {level: ops.cast(self.convs[name](x), "float32") for level, x in features[prediction.tower].items()}
            for name, prediction in self.predictions.items()
        }
