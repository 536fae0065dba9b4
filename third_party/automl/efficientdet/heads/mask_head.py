"""Segmentation head: class logits of each pixel, at half the resolution of the finest feature map's stride."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from efficientdet.activations import ACTIVATIONS
from efficientdet.config import DetectorConfig
from efficientdet.layers import GLOROT_UNIFORM, BatchNormalization
from efficientdet.types import Pyramid, Tensor


class MaskHead(keras.layers.Layer):
    """Upsamples from the coarsest level and concatenates each finer level, with normalization and activation.

    Takes the neck's `{level: (b, h, w, c)}`, whose sizes double exactly; returns
    logits `(b, 2 h, 2 w, seg_num_classes)`, h and w of the finest level.
    """

    def __init__(self, config: DetectorConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        steps = range(len(config.levels) - 1)
        self.upsamples = [_doubling(config.fpn_num_filters, f"upsample_{step}", use_bias=False) for step in steps]
        self.norms = [BatchNormalization(name=f"norm_{step}") for step in steps]
        self.predict = _doubling(config.seg_num_classes, "predict", use_bias=True)

    def build(self, input_shapes: dict[int, Sequence[int | None]]) -> None:
        filters = self.config.fpn_num_filters
        channels = filters
        for upsample, norm in zip(self.upsamples, self.norms, strict=True):
            upsample.build((None, None, None, channels))
            norm.build((None, None, None, filters))
            channels = 2 * filters
        self.predict.build((None, None, None, channels))

    def call(self, pyramid: Pyramid, training: bool = False) -> Tensor:
        coarsest, *finer = sorted(pyramid, reverse=True)
        x = pyramid[coarsest]
        for level, upsample, norm in zip(finer, self.upsamples, self.norms, strict=True):
            x = norm(upsample(x), training=training, activation=ACTIVATIONS[self.config.act_type])
            x = ops.concatenate([x, pyramid[level]], axis=-1)
        return self.predict(x)


def _doubling(filters: int, name: str, *, use_bias: bool) -> keras.layers.Layer:
    return keras.layers.Conv2DTranspose(
        filters, 3, strides=2, padding="same", use_bias=use_bias, kernel_initializer=GLOROT_UNIFORM, name=name
    )
