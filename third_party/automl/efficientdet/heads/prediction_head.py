"""Prediction tower: the network of the class head and the box head, which differ in the number of outputs."""

from collections.abc import Sequence
from typing import Any

import keras

from efficientdet.activations import ACTIVATIONS
from efficientdet.config import DetectorConfig
from efficientdet.layers import BatchNormalization, DropPath, NumpyInitializer, conv3x3, recomputed
from efficientdet.types import Pyramid, Tensor


class PredictionTower(keras.layers.Layer):
    """Convolutions shared by all levels, and a last convolution that predicts.

    Convolutions are shared, batch statistics are not: feature maps of level 3
    and of level 7 have different distributions, so each level has its own
    normalization (and each checkpoint one per level).

    With `survival_prob` all layers but the first are residual and have
    stochastic depth in training. Layers whose indices are in `recomputed` are
    recomputed for their gradient.

    Takes `{level: (b, h, w, c)}`; returns `{level: (b, h, w, num_outputs)}`,
    raw, grouped by anchor.
    """

    def __init__(
        self,
        config: DetectorConfig,
        num_outputs: int,
        *,
        bias_initializer: Any = "zeros",
        first_drop_index: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.config = config
        self.recomputed: frozenset[int] = frozenset()
        repeats = range(config.box_class_repeats)
        self.convs = [self._conv(config.fpn_num_filters, f"conv_{repeat}") for repeat in repeats]
        self.norms = [
            {str(level): BatchNormalization(name=f"norm_{repeat}_level_{level}") for level in config.levels}
            for repeat in repeats
        ]
        self.drop_paths = {}
        if config.survival_prob:
            self.drop_paths = {
                (repeat, level): DropPath(
                    config.survival_prob,
                    first_drop_index + repeat * len(config.levels) + position,
                    name=f"drop_path_{repeat}_level_{level}",
                )
                for repeat in repeats[1:]
                for position, level in enumerate(config.levels)
            }
        self.predict = self._conv(num_outputs, "predict", bias_initializer=bias_initializer)

    def _conv(self, filters: int, name: str, **options: Any) -> keras.layers.Layer:
        separable = self.config.separable_conv
        initializer = (
            NumpyInitializer("truncated_normal", fan="in")
            if separable
            else NumpyInitializer("normal", variance=0.01**2)
        )
        return conv3x3(filters, separable=separable, initializer=initializer, name=name, **options)

    def build(self, input_shapes: dict[int, Sequence[int | None]]) -> None:
        shape = (None, None, None, self.config.fpn_num_filters)
        for conv, norms in zip(self.convs, self.norms, strict=True):
            conv.build(shape)
            for norm in norms.values():
                norm.build(shape)
        self.predict.build(shape)

    def call(self, pyramid: Pyramid, seed: Tensor | None = None, training: bool = False) -> Pyramid:
        return {level: self._predicted(level, x, seed, training) for level, x in pyramid.items()}

    def _predicted(self, level: int, x: Tensor, seed: Tensor | None, training: bool) -> Tensor:
        activation = ACTIVATIONS[self.config.act_type]
        for repeat, (conv, norms) in enumerate(zip(self.convs, self.norms, strict=True)):
            skipped = x

            def layer(x: Tensor, conv: Any = conv, norm: Any = norms[str(level)]) -> Tensor:
                return norm(conv(x), training=training, activation=activation)

            x = recomputed(layer, x) if training and repeat in self.recomputed else layer(x)
            if (repeat, level) in self.drop_paths:
                x = self.drop_paths[repeat, level](x, seed=seed, training=training) + skipped
        return self.predict(x)
