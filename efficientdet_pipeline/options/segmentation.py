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
        "Loss of the pixels: cross_entropy, bce, dice, focal, or a sum of them with weights, such as bce+0.5*dice.",
        shapes=True,
    )
    upsample: str = option("nearest", "How the decoder of a U-Net enlarges its maps.", choices=UPSAMPLINGS, shapes=True)
    skip: str = option(
        "output",
        "What the decoder of a U-Net sees of the encoder's blocks: their output, or the residual branch alone.",
        choices=SKIPS,
        shapes=True,
    )
    concat_input: bool = option(True, "The last block of the decoder of a U-Net also sees the image.", shapes=True)
    scse: bool = option(False, "Spatial and channel squeeze and excitation in the decoder of a U-Net.", shapes=True)
    hypercolumn: bool = option(
        False, "The last convolution of a U-Net sees the decoder's maps of all levels.", shapes=True
    )

    def __post_init__(self) -> None:
        """Checks the choices; the loss is checked where it is built."""
        super().__post_init__()
        check_choice("upsample", self.upsample, UPSAMPLINGS)
        check_choice("skip", self.skip, SKIPS)
