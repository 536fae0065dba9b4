"""EfficientNet with its classification head, as it was trained on ImageNet.

Tan and Le, 2019. `b` batch, `h w` height and width, `k` classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
from keras import ops

from efficientdet.activations import ACTIVATIONS
from efficientdet.backbones.efficientnet import KERNELS
from efficientdet.imagenet import build_encoder, imagenet_config
from efficientdet.layers import GLOROT_UNIFORM, BatchNormalization, uniform_of
from efficientdet.types import Tensor


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """What defines a classifier."""

    backbone_name: str = "efficientnet-b0"
    num_classes: int = 1000
    dropout: float | None = None
    """Rate before the last layer while training; None is the rate of the published network."""

    def __post_init__(self) -> None:
        imagenet_config(self.backbone_name)
        if self.num_classes < 2:
            raise ValueError(f"num_classes must be 2 or more. Received num_classes={self.num_classes}.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, or None. Received dropout={self.dropout}.")

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.backbone_name


class ClassifierHead(keras.layers.Layer):
    """A 1x1 convolution, the average over the image, dropout, and one linear layer.

    Takes the backbone's last map `(b, h, w, c)` and gives logits `(b, k)`.
    """

    def __init__(self, config: ClassifierConfig, *, index: int, **options: Any) -> None:
        """Makes the layers.

        Args:
          config: of the classifier.
          index: tells the head's dropout from the blocks' that draw with the same seed.
          **options: of Keras.
        """
        super().__init__(**options)
        trained = imagenet_config(config.backbone_name)
        self.act_type = trained.act_type
        self.dropout = trained.dropout if config.dropout is None else config.dropout
        self.index = index
        self.conv = keras.layers.Conv2D(
            trained.head_filters, 1, use_bias=False, kernel_initializer=KERNELS, name="conv"
        )
        self.norm = BatchNormalization(name="norm")
        self.predict = keras.layers.Dense(config.num_classes, kernel_initializer=GLOROT_UNIFORM, name="predict")

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.conv.build((None, None, None, input_shape[-1]))
        self.norm.build((None, None, None, self.conv.filters))
        self.predict.build((None, self.conv.filters))

    def call(self, x: Tensor, seed: Tensor | None = None, training: bool = False) -> Tensor:
        x = ACTIVATIONS[self.act_type](self.norm(self.conv(x), training=training))
        x = ops.mean(x, axis=(1, 2))
        if training and seed is not None and self.dropout:
            chance = ops.reshape(uniform_of(seed, self.index, ops.shape(x)[0] * x.shape[1]), (-1, x.shape[1]))
            x = ops.where(chance < self.dropout, 0.0, ops.cast(x, "float32") / (1.0 - self.dropout))
        return self.predict(x)


@keras.saving.register_keras_serializable("efficientdet")
class Classifier(keras.Model):
    """An EfficientNet for classification.

    Takes images `(b, h, w, 3)` of any size, float32 and normalized as
    `imagenet_config` says, and gives float32 logits `(b, k)`.

    While training, blocks and features are dropped by `drop_path_seed`, which
    is (seed, step), as `model.Detector` does: a resumed run is the same run.
    """

    def __init__(self, config: ClassifierConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.backbone = build_encoder(config.backbone_name)
        self.head = ClassifierHead(config, index=len(self.backbone.blocks), name="head")
        self.drop_path_seed = keras.random.SeedGenerator(0, name="drop_path_seed")

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Makes every weight; `build_classifier` has called it already."""
        self.backbone.build((None, None, None, 3))
        self.head.build((None, None, None, self.backbone.channels[max(self.backbone.channels)]))

    def call(self, images: Tensor, training: bool = False, seed: Tensor | None = None) -> Tensor:
        training = bool(training)
        if training and seed is None:
            seed = self.next_drop_path_seed()
        pyramid = self.backbone(images, seed=seed, training=training)
        return ops.cast(self.head(pyramid[max(pyramid)], seed=seed, training=training), "float32")

    def next_drop_path_seed(self) -> Tensor:
        """Returns what a training call drops by, and moves on; `call` does it where it is given no seed."""
        return self.drop_path_seed.next()

    def set_drop_path(self, seed: int, step: int) -> None:
        """Sets what the next training call drops; later calls follow from it."""
        self.drop_path_seed.state.assign([seed, step])

    def get_config(self) -> dict[str, Any]:
        return {"config": asdict(self.config), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Classifier":
        return build_classifier(ClassifierConfig(**config["config"]))


def build_classifier(config: ClassifierConfig) -> Classifier:
    """Returns the network that the config defines, every weight made and random.

    >>> build_classifier(ClassifierConfig(backbone_name="efficientnet-b0")).count_params()
    5330564
    """
    model = Classifier(config, name=config.name.replace("-", "_"))
    model.build((None, None, None, 3))
    return model
