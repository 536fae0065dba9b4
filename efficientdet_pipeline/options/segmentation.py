"""Options of segmentation."""

from dataclasses import dataclass

from efficientdet_pipeline.options.schema import Options, check_choice, option

UPSAMPLINGS = ("nearest", "bilinear", "transpose")
SKIPS = ("output", "residual")


@dataclass(frozen=True, kw_only=True)
class SegmentationOptions(Options):
    """Segmentation."""

    segmentation_loss: str = option(
        "cross_entropy",
        "Pixel loss: cross_entropy, bce, dice, focal, or a sum of them with weights, such as bce+0.5*dice.",
        shapes=True,
    )
    upsample: str = option("nearest", "Upsampling in the decoder of a U-Net.", choices=UPSAMPLINGS, shapes=True)
    skip: str = option(
        "output",
        "Skip connections of a U-Net: outputs of the encoder's blocks, or their residual branches only.",
        choices=SKIPS,
        shapes=True,
    )
    concat_input: bool = option(
        True, "Concatenate the image to the input of the last decoder block of a U-Net.", shapes=True
    )
    scse: bool = option(False, "Spatial and channel squeeze and excitation in the decoder of a U-Net.", shapes=True)
    hypercolumn: bool = option(
        False, "Concatenate the decoder's feature maps of all levels for the last convolution of a U-Net.", shapes=True
    )

    def __post_init__(self) -> None:
        """Checks the choices; the loss is checked when it is built."""
        super().__post_init__()
        check_choice("upsample", self.upsample, UPSAMPLINGS)
        check_choice("skip", self.skip, SKIPS)
