"""EfficientDet: backbone, neck and heads."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

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

if TYPE_CHECKING:
    from efficientdet.any_detector import AnyDetector, AnyDetectorConfig


@keras.saving.register_keras_serializable("efficientdet")
class Detector(keras.Model):
    """EfficientDet.

    Takes images `(b, h, w, 3)`, float32 and normalized; returns float32 logits
    and deltas, whatever the precision inside:
    `{"class": {level: (b, h, w, anchors * k)}, "box": {level: (b, h, w, anchors * 4)}}`,
    and `"segmentation": (b, h, w, k)` if the config has that head.

    Height and width must be static while tracing; they may differ from the
    config's.

    In training, stochastic depth depends on `drop_path_seed`, which is
    (seed, step): each training call increments the step, and it is not a weight.
    With `set_drop_path` a resumed run is identical to an uninterrupted one. It
    is None for a network without stochastic depth, such as D0.
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
        """Creates all weights; `build_model` has called it already."""
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
        """Returns the drop-path seed of a training call and advances it; `call` uses it if no seed is given."""
        return self.drop_path_seed.next() if self.drop_path_seed is not None else None

    def set_drop_path(self, seed: int, step: int) -> None:
        """Sets the drop-path seed of the next training call; the seeds of later calls follow from it."""
        if self.drop_path_seed is not None:
            self.drop_path_seed.state.assign([seed, step])

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_hparams(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Detector":
        return build_model(DetectorConfig(**config["config"]))


def _float32(pyramid: Pyramid) -> Pyramid:
    return {level: ops.cast(x, "float32") for level, x in pyramid.items()}


@overload
def build_model(config: DetectorConfig) -> Detector: ...
@overload
def build_model(config: "AnyDetectorConfig") -> "AnyDetector": ...
def build_model(config: "AnyDetectorConfig") -> "AnyDetector":
    """Returns the network of a config, with all weights created and randomly initialized.

    The compute dtype follows the global Keras dtype policy; weights are float32
    also under mixed_bfloat16 and mixed_float16.

    Args:
      config: from `get_config`, or the parts of a detector built from parts.

    >>> model = build_model(get_config("efficientdet-d0", num_classes=3))
    >>> model(zeros((1, 512, 512, 3)))["class"][3].shape
    (1, 64, 64, 27)
    """
    if isinstance(config, str):
        raise TypeError(f"config must be a config. Received a name; try build_model(get_config({config!r})).")
    if not isinstance(config, DetectorConfig):
        from efficientdet.detectors.detector import OneStageDetector

        return OneStageDetector(config, name="detector")
    model = Detector(config, name=config.name.replace("-", "_"))
    model.build((None, *config.image_size, 3))
    return model
