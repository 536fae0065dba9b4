"""Options of segmentation and classification together.

They shape a run where they are not the default (`training.session`), so that runs of earlier versions keep their names.
"""

from dataclasses import dataclass

from efficientdet_pipeline.options.schema import Options, check, option


@dataclass(frozen=True, kw_only=True)
class ClassNetworkOptions(Options):
    """Segmentation and classification."""

    input_rand_vflip: bool = option(
        False,
        "Flip images vertically with probability 0.5, for images without an up, such as those of microscopes and "
        "satellites. Semantic maps are flipped with them.",
    )
    max_rotation: float = option(
        0.0,
        "Largest random rotation in degrees, either way, 0 to 180. Semantic maps are rotated with their images, and "
        "pixels from outside the image do not count.",
    )
    crop_area_min: float = option(
        0.35,
        "Classification: smallest share of an image's area that its random window has, above 0 and at most 1; ImageNet "
        "is trained with 0.08.",
    )

    def __post_init__(self) -> None:
        """Checks the ranges."""
        super().__post_init__()
        check(0 <= self.max_rotation <= 180, "max_rotation", self.max_rotation, "from 0 to 180", "try 15")
        area = self.crop_area_min
        check(0 < area <= 1, "crop_area_min", area, "above 0 and at most 1", "try 0.35")
