"""Box head: box deltas of each anchor."""

from efficientdet.config import DetectorConfig
from efficientdet.heads.prediction_head import PredictionTower


def build_box_head(config: DetectorConfig) -> PredictionTower:
    """Returns the head whose outputs are deltas, `anchors * 4` per location.

    Output `anchor * 4 + i` is element i of (dy, dx, log dh, log dw); `boxes.decode_boxes` decodes them.
    """
    return PredictionTower(config, config.num_anchors * 4, first_drop_index=2_000, name="box_head")
