"""Anchor head of a detector built from parts: RetinaNet's towers with configurable assigner, box coder and losses."""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
from keras import ops

from efficientdet.anchor_generator import AnchorGenerator
from efficientdet.automl.hparams import unknown_name
from efficientdet.backbones.weight_standardized import LAYER_ACTIVATIONS, NORMS
from efficientdet.delta_coder import DeltaCoder
from efficientdet.detection_losses import BOX_LOSSES, CLASS_LOSSES, BoxLoss, BoxPair, ClassLoss
from efficientdet.detectors.part_reader import read_fields, read_part
from efficientdet.heads.head_interface import (
    Candidates,
    NmsPart,
    Outputs,
    PostProcessingPart,
    Size,
    Tower,
    flat_levels,
    map_sizes,
    priors_of,
)
from efficientdet.label_assignment.assignment import Assigner, Predicted, Priors, assign_batch, padded_objects
from efficientdet.label_assignment.atss import AtssAssigner
from efficientdet.label_assignment.max_iou import MaxIouAssigner
from efficientdet.label_assignment.samplers import PseudoSampler, RandomSampler
from efficientdet.label_assignment.sim_ota import SimOtaAssigner
from efficientdet.label_assignment.task_aligned import TaskAlignedAssigner
from efficientdet.layers import NumpyInitializer
from efficientdet.types import GroundTruth, Pyramid, Tensor

ASSIGNERS: dict[str, type] = {
    "max_iou_assigner": MaxIouAssigner,
    "atss_assigner": AtssAssigner,
    "sim_ota_assigner": SimOtaAssigner,
    "task_aligned_assigner": TaskAlignedAssigner,
}
SAMPLERS: dict[str, type] = {"pseudo": PseudoSampler, "random": RandomSampler}
CODERS: dict[str, type] = {"deltaxywh": DeltaCoder}
"""Lower-case name → dataclass; the keys of a part are its fields."""

PRIOR = 0.01
"""Initial score of all anchors, for the bias of the last convolution."""
SMALL = NumpyInitializer("normal", variance=0.01**2)


@dataclass(frozen=True, kw_only=True)
class AnchorHeadPart:
    """Configuration of an anchor head; field names are tfdet's."""

    anchor_config: dict[str, Any]
    """Fields of `anchor_generator.AnchorGenerator`."""
    assigner: dict[str, Any] = field(default_factory=lambda: {"name": "max_iou_assigner"})
    sampler: dict[str, Any] = field(default_factory=lambda: {"name": "pseudo"})
    bbox_encode: dict[str, Any] = field(default_factory=lambda: {"name": "deltaxywh"})
    num_heads: int = 4
    """Number of convolutions of each tower."""
    filters: int = 256
    separable_conv: bool = False
    act_cfg: str = "relu"
    norm_cfg: str = ""
    num_classes: int = 80
    loss_cls: dict[str, Any] = field(
        default_factory=lambda: {"name": "focalloss", "use_sigmoid": True, "loss_weight": 1.0}
    )
    loss_bbox: dict[str, Any] = field(
        default_factory=lambda: {"name": "smoothl1loss", "beta": 1.0 / 9.0, "loss_weight": 10.0}
    )
    test_cfg: dict[str, Any] = field(default_factory=dict)
    train_cfg: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.num_classes, self.filters) < 1 or self.num_heads < 0:
            raise ValueError(
                "num_classes and filters must be 1 or more, num_heads 0 or more. "
                f"Received {self.num_classes}, {self.filters} and {self.num_heads}."
            )
        for key, value, known in (
            ("act_cfg", self.act_cfg, LAYER_ACTIVATIONS),
            ("norm_cfg", self.norm_cfg, NORMS),
        ):
            if value not in known:
                raise ValueError(unknown_name(key, value, known))
        for key in self.train_cfg:
            if key not in ("batch_size", "gather_type"):
                raise ValueError(unknown_name("key of train_cfg", key, ("batch_size", "gather_type")))
        if self.train_cfg:
            warnings.warn(
                f"head.train_cfg ({', '.join(self.train_cfg)}) has no effect: the batch size is that of the images.",
                UserWarning,
                stacklevel=2,
            )
        counts = self.anchors.num_base_anchors
        if len(set(counts)) > 1:
            raise ValueError(f"All levels must have the same number of anchors. Received {counts}.")
        _ = self.matching, self.sampling, self.coder, self.class_loss, self.box_loss, self.nms_configs

    @property
    def anchors(self) -> AnchorGenerator:
        """Returns the anchor generator."""
        return read_fields("anchor_config", self.anchor_config, AnchorGenerator)

    @property
    def strides(self) -> tuple[int, ...]:
        """Returns the strides of the head's levels.

        Raises:
          ValueError: the strides are not those of a pyramid.
        """
        strides = [max(stride) if isinstance(stride, tuple) else stride for stride in self.anchors.strides]
        powers = [2 ** round(math.log2(stride)) for stride in strides]
        if strides != powers or any(2 * finer != coarser for finer, coarser in itertools.pairwise(strides)):
            raise ValueError(f"anchor_config.strides must be powers of 2, each twice the previous one: {strides}.")
        return tuple(strides)

    @property
    def matching(self) -> Assigner:
        """Returns the assigner."""
        return read_part("assigner", self.assigner, ASSIGNERS)

    @property
    def sampling(self) -> PseudoSampler | RandomSampler:
        """Returns the sampler."""
        return read_part("sampler", self.sampler, SAMPLERS)

    @property
    def coder(self) -> DeltaCoder:
        """Returns the box coder."""
        return read_part("bbox_encode", self.bbox_encode, CODERS)

    @property
    def class_loss(self) -> ClassLoss:
        """Returns the classification loss."""
        return read_part("loss_cls", self.loss_cls, CLASS_LOSSES)

    @property
    def box_loss(self) -> BoxLoss:
        """Returns the box loss."""
        return read_part("loss_bbox", self.loss_bbox, BOX_LOSSES)

    @property
    def nms_configs(self) -> dict[str, Any]:
        """Returns the NMS settings: automl's keys, and `mode`."""
        return nms_configs_of(self.test_cfg)

    def build(self, levels: range) -> "AnchorHead":
        """Returns the head for the given pyramid levels."""
        return AnchorHead(self, levels, name="head")


def nms_configs_of(test_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Returns tfdet's `test_cfg` in automl's keys, with the `mode` of NMS."""
    unknown = [key for key in test_cfg if key != "post_processing"]
    if unknown:
        raise ValueError(unknown_name("key of test_cfg", unknown[0], ("post_processing",)))
    processing = read_fields("test_cfg.post_processing", test_cfg.get("post_processing", {}), PostProcessingPart)
    given = {"max_nms_inputs": 200, "score_thresh": 0.1, **processing.nms_configs}
    nms = read_fields("nms_configs", given, NmsPart)
    return asdict(nms) | {
        "mode": processing.mode,
        "max_nms_inputs": nms.max_nms_inputs if processing.top_k else 0,
    }


class AnchorHead(keras.layers.Layer):
    """Two towers shared by all levels: class logits and box deltas of each anchor.

    Takes `{level: (b, h, w, c)}`; returns
    `{"class": {level: (b, h, w, anchors * k)}, "box": {level: (b, h, w, anchors * 4)}}`.
    """

    loss_names = ("class_loss", "box_loss")

    def __init__(self, part: AnchorHeadPart, levels: range, **options: Any) -> None:
        super().__init__(**options)
        self.part = part
        self.levels = levels
        self.nms_configs = part.nms_configs
        self.anchors = part.anchors
        self.num_anchors = self.anchors.num_base_anchors[0]
        self.class_tower = self._tower("class_tower")
        self.box_tower = self._tower("box_tower")
        bias = keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR))
        self.class_predict = self._predict(part.num_classes, "class_predict", bias)
        self.box_predict = self._predict(4, "box_predict", SMALL)

    def _tower(self, name: str) -> Tower:
        part = self.part
        return Tower(
            part.filters,
            part.num_heads,
            act=part.act_cfg,
            norm=part.norm_cfg,
            separable=part.separable_conv,
            levels=self.levels,
            name=name,
        )

    def _predict(self, depth: int, name: str, bias: Any) -> keras.layers.Layer:
        return keras.layers.Conv2D(
            self.num_anchors * depth,
            3,
            padding="same",
            kernel_initializer=SMALL,
            # A bias has one axis and so no fan.
            bias_initializer=bias if bias is not SMALL else keras.initializers.RandomNormal(stddev=0.01, seed=0),
            name=name,
        )

    def build(self, input_shapes: dict[int, Sequence[int | None]]) -> None:
        shape = next(iter(input_shapes.values()))
        for tower, predict in ((self.class_tower, self.class_predict), (self.box_tower, self.box_predict)):
            tower.build(shape)
            predict.build((*shape[:-1], self.part.filters) if self.part.num_heads else shape)

    def call(self, pyramid: Pyramid, training: bool = False) -> Outputs:
        outputs = {}
        for name, tower, predict in (
            ("class", self.class_tower, self.class_predict),
            ("box", self.box_tower, self.box_predict),
        ):
            maps = tower(pyramid, training=training)
            outputs[name] = {level: ops.cast(predict(x), "float32") for level, x in maps.items()}
        return outputs

    def priors(self, sizes: Mapping[int, Size]) -> Priors:
        """Returns the anchors of feature maps of the given sizes."""
        return priors_of(self.anchors.grid_priors(list(sizes.values())), self.part.strides)

    def decode(self, outputs: Outputs, image_size: Size) -> Candidates:
        """Returns the boxes and scores of all anchors."""
        priors = self.priors(map_sizes(outputs["class"]))
        logits, deltas = flat_levels(outputs["class"], self.part.num_classes), flat_levels(outputs["box"], 4)
        return Candidates(self.part.coder.decode(deltas, ops.convert_to_tensor(priors.boxes)), ops.sigmoid(logits))

    def losses(self, outputs: Outputs, truth: GroundTruth, image_size: Size) -> dict[str, Tensor]:
        """Returns "class_loss" and "box_loss": sums divided by the positives of the batch, at least 2 per image."""
        part, priors = self.part, self.priors(map_sizes(outputs["class"]))
        anchors = ops.convert_to_tensor(priors.boxes)
        logits, deltas = flat_levels(outputs["class"], part.num_classes), flat_levels(outputs["box"], 4)
        boxes = part.coder.decode(deltas, anchors)
        objects = padded_objects(truth)
        predicted = Predicted(ops.sigmoid(logits), boxes) if part.matching.needs_predictions else None
        row, quality = assign_batch(part.matching, priors, objects, predicted)
        row = part.sampling(row, ops.stop_gradient(ops.sum(logits, axis=(1, 2))))
        is_positive = row >= 0
        own = ops.maximum(row, 0)
        class_index = ops.where(is_positive, ops.take_along_axis(objects.class_index, own, axis=1), row)
        target_boxes = ops.take_along_axis(objects.boxes, own[..., None], axis=1)
        # Neither loss learns labels that have no output column.
        is_positive = ops.logical_and(is_positive, class_index < part.num_classes)
        normalizer = ops.sum(ops.maximum(ops.sum(ops.cast(is_positive, "float32"), axis=1), 2.0))
        pair = BoxPair(deltas, part.coder.encode(target_boxes, anchors), boxes, target_boxes)
        class_loss = part.class_loss(logits, class_index, quality) / normalizer
        box_loss = part.box_loss(pair, is_positive) / normalizer
        return {
            "class_loss": part.class_loss.loss_weight * class_loss,
            "box_loss": part.box_loss.loss_weight * box_loss,
        }
