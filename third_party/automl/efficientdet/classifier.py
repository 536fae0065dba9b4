"""EfficientNet image classifier with the head of the ImageNet checkpoints.

Tan and Le, 2019. `b` batch, `h w` height and width, `k` classes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
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
    """Configuration of a classifier."""

    backbone_name: str = "efficientnet-b0"
    num_classes: int = 1000
    dropout: float | None = None
    """Dropout rate before the last layer in training; None: the rate of the published network."""

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

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "ClassifierConfig":
        """Returns the config with the given fields; other keys are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in fields.items() if key in names})


class ClassifierHead(keras.layers.Layer):
    """A 1x1 convolution, global average pooling, dropout and a dense layer.

    Takes the backbone's last feature map `(b, h, w, c)`; returns logits `(b, k)`.
    """

    def __init__(self, config: ClassifierConfig, *, index: int, **options: Any) -> None:
        """Creates the layers.

        Args:
          config: of the classifier.
          index: distinguishes the dropout of the head from that of the blocks, which use the same seed.
          **options: keyword arguments of the Keras layer.
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
        x = self.norm(self.conv(x), training=training, activation=ACTIVATIONS[self.act_type])
        x = ops.mean(x, axis=(1, 2))
        if training and seed is not None and self.dropout:
            chance = ops.reshape(uniform_of(seed, self.index, ops.shape(x)[0] * x.shape[1]), (-1, x.shape[1]))
            x = ops.where(chance < self.dropout, 0.0, ops.cast(x, "float32") / (1.0 - self.dropout))
        return self.predict(x)


@keras.saving.register_keras_serializable("efficientdet")
class Classifier(keras.Model):
    """EfficientNet for image classification.

    Takes images `(b, h, w, 3)` of any size, float32 and normalized as in
    `imagenet_config`; returns float32 logits `(b, k)`.

    In training, dropout and stochastic depth depend on `drop_path_seed`,
    which is (seed, step), as in `model.Detector`: a resumed run is identical.
    """

    def __init__(self, config: ClassifierConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.backbone = build_encoder(config.backbone_name)
        self.head = ClassifierHead(config, index=len(self.backbone.blocks), name="head")
        self.drop_path_seed = keras.random.SeedGenerator(0, name="drop_path_seed")

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates all weights; `build_classifier` has called it already."""
        self.backbone.build((None, None, None, 3))
        self.head.build((None, None, None, self.backbone.channels[max(self.backbone.channels)]))

    def call(self, images: Tensor, training: bool = False, seed: Tensor | None = None) -> Tensor:
        training = bool(training)
        if training and seed is None:
            seed = self.next_drop_path_seed()
        pyramid = self.backbone(images, seed=seed, training=training)
        return ops.cast(self.head(pyramid[max(pyramid)], seed=seed, training=training), "float32")

    def next_drop_path_seed(self) -> Tensor:
        """Returns the dropout seed of a training call and advances it; `call` uses it if no seed is given."""
        return self.drop_path_seed.next()

    def set_drop_path(self, seed: int, step: int) -> None:
        """Sets the dropout seed of the next training call; the seeds of later calls follow from it."""
        self.drop_path_seed.state.assign([seed, step])

    def get_config(self) -> dict[str, Any]:
        return {"config": asdict(self.config), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Classifier":
        return build_classifier(ClassifierConfig(**config["config"]))


def build_classifier(config: ClassifierConfig) -> Classifier:
    """Returns the network of a config, with all weights created and randomly initialized.

    >>> build_classifier(ClassifierConfig(backbone_name="efficientnet-b0")).count_params()
    5330564
    """
    model = Classifier(config, name=config.name.replace("-", "_"))
    model.build((None, None, None, 3))
    return model
