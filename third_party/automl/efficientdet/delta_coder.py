"""Box coder: boxes as scaled deltas relative to priors."""

from dataclasses import dataclass

from jaxtyping import Float
from keras import ops

from efficientdet.boxes import decode_boxes, encode_boxes
from efficientdet.types import Tensor


@dataclass(frozen=True, kw_only=True)
class DeltaCoder:
    """Encodes boxes as (dy, dx, log dh, log dw), as `boxes.encode_boxes` does, each times a factor.

    `decode(encode(boxes, priors), priors)` returns the boxes.
    """

    scale_factors: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Factors of dy, dx, log dh and log dw."""

    def __post_init__(self) -> None:
        if min(self.scale_factors) <= 0:
            raise ValueError(f"scale_factors must be above 0. Received {self.scale_factors}.")

    def encode(self, boxes: Float[Tensor, "*b a 4"], priors: Float[Tensor, "a 4"]) -> Float[Tensor, "*b a 4"]:
        """Returns the regression targets of the head."""
        return encode_boxes(boxes, priors) * ops.convert_to_tensor(self.scale_factors, "float32")

    def decode(self, deltas: Float[Tensor, "*b a 4"], priors: Float[Tensor, "a 4"]) -> Float[Tensor, "*b a 4"]:
        """Returns the predicted boxes; a leading batch axis is accepted."""
        return decode_boxes(deltas / ops.convert_to_tensor(self.scale_factors, "float32"), priors)
