"""Boxes as deltas against priors, scaled: what heads with anchors predict."""

from dataclasses import dataclass

from jaxtyping import Float
from keras import ops

from efficientdet.boxes import decode_boxes, encode_boxes
from efficientdet.types import Tensor


@dataclass(frozen=True, kw_only=True)
class DeltaCoder:
    """(dy, dx, log dh, log dw) as `boxes.encode_boxes` writes them, times a factor each.

    `decode(encode(boxes, priors), priors)` gives the boxes back.
    """

    scale_factors: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Of dy, dx, log dh and log dw."""

    def __post_init__(self) -> None:
        if min(self.scale_factors) <= 0:
            raise ValueError(f"scale_factors must be above 0. Received {self.scale_factors}.")

    def encode(self, boxes: Float[Tensor, "*b a 4"], priors: Float[Tensor, "a 4"]) -> Float[Tensor, "*b a 4"]:
        """Returns what the head should say at each prior to mean its box."""
        return encode_boxes(boxes, priors) * ops.convert_to_tensor(self.scale_factors, "float32")

    def decode(self, deltas: Float[Tensor, "*b a 4"], priors: Float[Tensor, "a 4"]) -> Float[Tensor, "*b a 4"]:
        """Returns the boxes that the head means; a leading axis of images is taken too."""
        return decode_boxes(deltas / ops.convert_to_tensor(self.scale_factors, "float32"), priors)
