"""The detector: backbone, neck, heads, and nothing else."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from efficientdet.backbones import build_backbone
from efficientdet.config import DetectorConfig
from efficientdet.heads.box_head import build_box_head
from efficientdet.heads.class_head import build_class_head
from efficientdet.heads.mask_head import MaskHead
from efficientdet.layers import DropPath
from efficientdet.necks.neck import Neck
from efficientdet.types import Pyramid, Tensor


@keras.saving.register_keras_serializable("efficientdet")
class Detector(keras.Model):
    """An EfficientDet.

    Takes images `(b, h, w, 3)`, float32 and normalised, and gives float32
    logits and deltas, whatever the precision inside:
    `{"class": {level: (b, h, w, anchors * k)}, "box": {level: (b, h, w, anchors * 4)}}`,
    and `"segmentation": (b, h, w, k)` where the config has that head.

    Height and width must be known while tracing, and need not be the config's.

    While training, layers are dropped by `drop_path_seed`, which is
    (seed, step): it moves on by one with each training call and is no weight.
    Set it with `set_drop_path` and a resumed run is the same run. It is None
    for a network that drops nothing, such as D0.
    """

    def __init__(self, config: DetectorConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.backbone = build_backbone(config)
        self.neck = Neck(config, name="neck")
        self.class_head = self.box_head = self.mask_head = None
        if "object_detection" in config.heads:
            self.class_head = build_class_head(config)
            self.box_head = build_box_head(config)
        if "segmentation" in config.heads:
            self.mask_head = MaskHead(config, name="mask_head")
        self.drop_path_seed: keras.random.SeedGenerator | None = None
        if any(isinstance(layer, DropPath) for layer in self._flatten_layers()):
            self.drop_path_seed = keras.random.SeedGenerator(0, name="drop_path_seed")

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Makes every weight; `build_model` has called it already."""
        self.backbone.build(input_shape)
        channels = self.backbone.channels
        wanted = [level for level in self.config.levels if level <= 5]
        self.neck.build({level: (None, None, None, channels[level]) for level in wanted})
        shapes = dict.fromkeys(self.config.levels, (None, None, None, self.config.fpn_num_filters))
        for head in (self.class_head, self.box_head, self.mask_head):
            if head is not None:
                head.build(shapes)

    def call(self, images: Tensor, training: bool = False, seed: Tensor | None = None) -> dict[str, Any]:
        training = bool(training)
        if training and seed is None:
            seed = self.next_drop_path_seed()
        features = self.backbone(images, seed=seed, training=training)
        features = {level: features[level] for level in self.config.levels if level <= 5}
        pyramid = self.neck(features, training=training)
        outputs: dict[str, Any] = {}
        if self.class_head is not None:
            outputs["class"] = _float32(self.class_head(pyramid, seed=seed, training=training))
            outputs["box"] = _float32(self.box_head(pyramid, seed=seed, training=training))
        if self.mask_head is not None:
            outputs["segmentation"] = ops.cast(self.mask_head(pyramid, training=training), "float32")
        return outputs

    def next_drop_path_seed(self) -> Tensor | None:
        """Returns what a training call drops by, and moves on; `call` does it where it is given no seed."""
        return self.drop_path_seed.next() if self.drop_path_seed is not None else None

    def set_drop_path(self, seed: int, step: int) -> None:
        """Sets what the next training call drops; later calls follow from it."""
        if self.drop_path_seed is not None:
            self.drop_path_seed.state.assign([seed, step])

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_hparams(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Detector":
        return build_model(DetectorConfig(**config["config"]))


def _float32(pyramid: Pyramid) -> Pyramid:
    return {level: ops.cast(x, "float32") for level, x in pyramid.items()}


def build_model(config: DetectorConfig) -> Detector:
    """Returns the network that the config defines, every weight made and random.

    Precision is the global Keras dtype policy; weights are float32 under
    mixed_bfloat16 and mixed_float16 as well.

    >>> model = build_model(get_config("efficientdet-d0", num_classes=3))
    >>> model(zeros((1, 512, 512, 3)))["class"][3].shape
    (1, 64, 64, 27)
    """
    model = Detector(config, name=config.name.replace("-", "_"))
    model.build((None, *config.image_size, 3))
    return model
