"""One-stage detector: backbone, neck and head with a common interface."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from efficientdet.heads.head_interface import Candidates, Outputs, Size
from efficientdet.layers import DropPath
from efficientdet.losses import l2_regularization
from efficientdet.types import GroundTruth, Tensor

if TYPE_CHECKING:
    from efficientdet.detectors.config import DetectorParts


@keras.saving.register_keras_serializable("efficientdet")
class OneStageDetector(keras.Model):
    """A detector that consists of a backbone, a neck and a head.

    Takes images `(b, h, w, 3)`, normalized with `normalization`; returns the
    head's raw outputs, float32. `losses(outputs, truth)` returns the training
    losses; `decode(outputs)` returns boxes and scores before NMS, which
    `nms_configs` configures. Height and width must be static while tracing; they
    may differ from the config's.

    It can be trained directly: `compile(optimizer)`, then `fit` with batches
    (images, GroundTruth), or dicts of image, bboxes (canvas pixels), labels
    (0-based) and mask, as in `tfdet`. If the backbone has stochastic depth, the
    dropped samples are a function of (seed, step), see `set_drop_path`.
    """

    def __init__(self, parts: "DetectorParts", **options: Any) -> None:
        super().__init__(**options)
        self.parts = parts
        self.image_size: Size = parts.image_size
        self.num_classes: int = parts.head.num_classes
        self.nms_configs: dict[str, Any] = dict(parts.head.nms_configs)
        self.normalization = parts.backbone.normalization
        """Mean and standard deviation of RGB pixels, 0 to 255, with which images are normalized."""
        self.backbone = parts.backbone.build()
        self.levels: range = parts.levels
        self.neck = parts.neck.build(self.levels)
        self.head = parts.head.build(self.levels)
        self.backbone.build((None, *self.image_size, 3))
        channels = self.backbone.channels
        self.feature_levels = [level for level in channels if self.levels[0] <= level]
        self.feature_levels = [level for level in self.feature_levels if level <= self.levels[-1]]
        self.neck.build({level: (None, None, None, channels[level]) for level in self.feature_levels})
        self.head.build(dict.fromkeys(self.levels, (None, None, None, parts.neck.filters)))
        self.built = True
        self.drop_path_seed: keras.random.SeedGenerator | None = None
        if any(isinstance(layer, DropPath) for layer in self._flatten_layers()):
            self.drop_path_seed = keras.random.SeedGenerator(0, name="drop_path_seed")
        names = ("loss", *self.head.loss_names, "reg_l2_loss")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def build(self, input_shape: Any) -> None:
        """Creates nothing: all parts are built already."""

    def compile(self, *arguments: Any, jit_compile: bool = False, **options: Any) -> None:
        """Configures training as in Keras, with XLA only on request: on a CPU it is many times slower."""
        super().compile(*arguments, jit_compile=jit_compile, **options)

    def call(self, images: Tensor, training: bool = False, seed: Tensor | None = None) -> Outputs:
        if isinstance(images, Mapping):
            images = images["image"]
        training = bool(training)
        if training and seed is None:
            seed = self.next_drop_path_seed()
        features = self.backbone(images, seed=seed, training=training)
        features = {level: features[level] for level in self.feature_levels}
        pyramid = self.neck(features, training=training)
        return self.head({level: pyramid[level] for level in self.levels}, training=training)

    def next_drop_path_seed(self) -> Tensor | None:
        """Returns the drop-path seed of a training call and advances it; `call` uses it if no seed is given."""
        return self.drop_path_seed.next() if self.drop_path_seed is not None else None

    def set_drop_path(self, seed: int, step: int) -> None:
        """Sets the drop-path seed of the next training call; the seeds of later calls follow from it."""
        if self.drop_path_seed is not None:
            self.drop_path_seed.state.assign([seed, step])

    def losses(self, outputs: Outputs, truth: GroundTruth) -> dict[str, Tensor]:
        """Returns "loss" and its terms: those of the head and "reg_l2_loss"."""
        terms = dict(self.head.losses(outputs, truth, self._canvas_of(outputs)))
        terms["reg_l2_loss"] = ops.cast(l2_regularization(self.trainable_variables, self.parts.weight_decay), "float32")
        return {"loss": sum(terms.values(), start=ops.zeros((), "float32")), **terms}

    def decode(self, outputs: Outputs) -> Candidates:
        """Returns the boxes (canvas pixels) and class scores (0 to 1) of all priors, before NMS."""
        return self.head.decode(outputs, self._canvas_of(outputs))

    def _canvas_of(self, outputs: Outputs) -> Size:
        """Returns (height, width) of the images of these outputs: the config's, if its maps have their size."""
        level = self.levels[0]
        height, width = next(iter(outputs.values()))[level].shape[1:3]
        expected = tuple(-(-side // 2**level) for side in self.image_size)
        return self.image_size if (height, width) == expected else (height * 2**level, width * 2**level)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the sum of all losses, a scalar, and updates the running means of all losses."""
        truth = ground_truth_of(x) if y is None else GroundTruth(*y)
        terms = self.losses(y_pred, truth)
        for name, value in terms.items():
            self.trackers[name].update_state(ops.stop_gradient(value))
        return terms["loss"]

    @property
    def config(self) -> "DetectorParts":
        """Config of the detector."""
        return self.parts

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means that `fit` reports and resets each epoch."""
        return list(self.trackers.values())

    def get_config(self) -> dict[str, Any]:
        return {"config": copy.deepcopy(self.parts.source), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "OneStageDetector":
        from efficientdet.detectors.build import build_detector

        return build_detector(config["config"])


def ground_truth_of(batch: Mapping[str, Tensor]) -> GroundTruth:
    """Returns the ground truth of a batch of dicts: bboxes in canvas pixels, 0-based labels, mask 1 for objects.

    Labels and masks may have a last axis of 1. Rows with mask 0 may have any
    values.

    Raises:
      ValueError: a key is missing.
    """
    missing = {"bboxes", "labels", "mask"} - set(batch)
    if missing:
        raise ValueError(
            f"A batch must have image, bboxes, labels and mask. It lacks {', '.join(sorted(missing))}; it has "
            f"{', '.join(sorted(batch))}."
        )
    boxes = ops.cast(batch["bboxes"], "float32")
    shape = (ops.shape(boxes)[0], ops.shape(boxes)[1])
    labels = ops.reshape(ops.cast(batch["labels"], "int32"), shape)
    is_object = ops.reshape(ops.cast(batch["mask"], "float32"), shape) > 0
    return GroundTruth(boxes, ops.where(is_object, labels + 1, 0))
