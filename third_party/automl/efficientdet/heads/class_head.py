"""Class head: class logits of each anchor."""

import math

import keras

from efficientdet.config import DetectorConfig
from efficientdet.heads.prediction_head import PredictionTower

PRIOR = 0.01
"""Initial score of all anchors; without it, the loss of the many negatives dominates the first steps (RetinaNet)."""


def build_class_head(config: DetectorConfig) -> PredictionTower:
    """Returns the head whose outputs are logits, `anchors * num_classes` per location.

    Output `anchor * num_classes + class_index` is the logit of that anchor and class.
    """
    return PredictionTower(
        config,
        config.num_anchors * config.num_classes,
        bias_initializer=keras.initializers.Constant(-math.log((1 - PRIOR) / PRIOR)),
        first_drop_index=1_000,
        name="class_head",
    )
