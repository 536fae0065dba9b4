"""Interface of the heads of detectors built from parts, and layers and functions that they share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
from jaxtyping import Float
from keras import ops

from efficientdet.automl.hparams import unknown_name
from efficientdet.backbones.weight_standardized import LAYER_ACTIVATIONS, NORMS
from efficientdet.label_assignment.assignment import Priors
from efficientdet.layers import NumpyInitializer, conv3x3
from efficientdet.types import GroundTruth, Pyramid, Tensor

Size = tuple[int, int]
Outputs = dict[str, Pyramid]
"""A head's raw outputs, float32: {"class": {level: (b, h, w, …)}, "box": …}."""


class Candidates(NamedTuple):
    """Decoded predictions, before NMS."""

    boxes: Float[Tensor, "b a 4"]
    """Canvas pixels, not clipped."""
    scores: Float[Tensor, "b a k"]
    """0 to 1, for each class."""


class Head(Protocol):
    """A head: a Keras layer with its loss and its decoder."""

    loss_names: tuple[str, ...]
    """Names of the loss terms."""
    nms_configs: Mapping[str, Any]
    """NMS settings, in the keys of `postprocess.detections`."""

    def losses(self, outputs: Outputs, truth: GroundTruth, image_size: Size) -> dict[str, Tensor]:
        """Returns the weighted loss terms by name; their sum is the head's loss."""
        ...

    def decode(self, outputs: Outputs, image_size: Size) -> Candidates:
        """Returns the boxes and scores of all priors."""
        ...


@dataclass(frozen=True, kw_only=True)
class NmsPart:
    """NMS settings; field names are tfdet's."""

    max_nms_inputs: int = 0
    """Number of best (prior, class) pairs; 0: the best class of each prior."""
    method: str = "gaussian"
    """gaussian or hard."""
    max_output_size: int = 100
    iou_thresh: float | None = 0.5
    score_thresh: float | None = None
    sigma: float | None = 0.5

    def __post_init__(self) -> None:
        if self.method not in ("gaussian", "hard"):
            raise ValueError(unknown_name("method", self.method, ("gaussian", "hard")))


@dataclass(frozen=True, kw_only=True)
class PostProcessingPart:
    """Postprocessing of decoded predictions; field names are tfdet's."""

    name: str = "global_postprocessing"
    """global_postprocessing: boxes of all classes suppress each other; per_class_postprocessing: those of one class."""
    top_k: bool = True
    """Whether the `nms_configs.max_nms_inputs` best pairs are taken; else the best class of each prior."""
    nms_configs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = ("global_postprocessing", "per_class_postprocessing")
        if self.name not in known:
            raise ValueError(unknown_name("name", self.name, known))

    @property
    def mode(self) -> str:
        """Returns the mode for `postprocess`."""
        return self.name.removesuffix("_postprocessing")


def flat_levels(pyramid: Pyramid, depth: int) -> Float[Tensor, "b a c"]:
    """Returns the outputs of all levels concatenated, lowest level first."""
    maps = [ops.cast(pyramid[level], "float32") for level in sorted(pyramid)]
    # The number of priors stays known while tracing with any number of images.
    return ops.concatenate([ops.reshape(x, (-1, math.prod(x.shape[1:]) // depth, depth)) for x in maps], axis=1)


def map_sizes(pyramid: Pyramid) -> dict[int, Size]:
    """Returns (height, width) of the feature map of each level."""
    return {level: (int(pyramid[level].shape[1]), int(pyramid[level].shape[2])) for level in sorted(pyramid)}


def priors_of(boxes: Sequence[Any], strides: Sequence[float]) -> Priors:
    """Returns the priors of all levels.

    Args:
      boxes: (a, 4) per level, numpy.
      strides: one per level.
    """
    per_level = tuple(len(level) for level in boxes)
    return Priors(
        np.concatenate(boxes).astype(np.float32), np.repeat(np.asarray(strides, np.float32), per_level), per_level
    )


class Tower(keras.layers.Layer):
    """Convolutions shared by all levels, each followed by a normalization per level and an activation.

    Takes and returns `{level: (b, h, w, c)}`.
    """

    def __init__(self, filters: int, repeats: int, *, act: str, norm: str, separable: bool, levels: range, name: str):
        super().__init__(name=name)
        self.act = act
        self.filters = filters
        initializer = (
            NumpyInitializer("truncated_normal", fan="in")
            if separable
            else NumpyInitializer("normal", variance=0.01**2 if not norm else 2.0, fan="one" if not norm else "in")
        )
        self.convs = [
            conv3x3(filters, separable=separable, initializer=initializer, use_bias=not norm, name=f"conv_{number}")
            for number in range(repeats)
        ]
        self.norms = [
            {str(level): NORMS[norm](f"norm_{number}_level_{level}") for level in levels} for number in range(repeats)
        ]

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = tuple(input_shape)
        for conv, norms in zip(self.convs, self.norms, strict=True):
            conv.build(shape)
            shape = (*shape[:-1], self.filters)
            for norm in norms.values():
                norm.build(shape)

    def call(self, pyramid: Pyramid, training: bool = False) -> Pyramid:
        outputs = {}
        for level, features in pyramid.items():
            outputs[level] = features
            for conv, norms in zip(self.convs, self.norms, strict=True):
                x = norms[str(level)](conv(outputs[level]), training=training)
                outputs[level] = LAYER_ACTIVATIONS[self.act](x)
        return outputs
