"""The box head: how far each anchor is from its object."""

from efficientdet.config import DetectorConfig
from efficientdet.heads.prediction_head import PredictionTower


def build_box_head(config: DetectorConfig) -> PredictionTower:
    """Returns the head whose outputs are deltas, `anchors * 4` a place.

    Output `anchor * 4 + i` is i of (dy, dx, log dh, log dw); `boxes.decode_boxes` reads them.
    """
    return PredictionTower(config, config.num_anchors * 4, first_drop_index=2_000, name="box_head")
