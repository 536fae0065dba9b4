"""How photos are varied; plain data, so that reading it loads no TensorFlow."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.augmentation import POLICIES as POLICY_NAMES


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """What augmentation does to one photo; the defaults are google/automl's."""

    input_rand_hflip: bool = True
    """Mirror every other photo."""
    jitter_min: float = 0.1
    """Smallest random scale, relative to a photo that just fits the canvas."""
    jitter_max: float = 2.0
    """Largest random scale."""
    autoaugment_policy: str | None = ""
    """v0, v1, v2, v3, test or randaug; empty or None for none."""
    randaug_magnitude: float = 10.0
    """Strength of randaug, 0 to 10. automl's 15 lies beyond its scale; 10 is the nearest on it."""
    grid_mask: bool = False
    """Blot out a turned grid of squares in every other photo."""
    hsv_hue: float = 0.0
    """Largest random turn of the hue, as a part of the colour circle; 0 is off."""
    hsv_saturation: float = 0.0
    """Largest random change of the saturation, as a part of itself; 0 is off."""
    hsv_value: float = 0.0
    """Largest random change of the brightness, as a part of itself; 0 is off."""
    min_visibility: float = 0.1
    """Smallest visible part of a box that is kept. A tenth still shows what it is of; automl (0) learns slivers too."""

    def __post_init__(self) -> None:
        """Checks every range."""
        if not 0 < self.jitter_min <= self.jitter_max:
            raise OptionsError(
                "jitter_min must be above 0 and at most jitter_max. Received "
                f"jitter_min={self.jitter_min} with jitter_max={self.jitter_max}; try 0.1 and 2.0.",
                option="jitter_min",
            )
        if (self.autoaugment_policy or "") not in POLICY_NAMES:
            raise OptionsError(
                f"Unknown autoaugment_policy {self.autoaugment_policy!r}. Known: {', '.join(POLICY_NAMES[1:])}, "
                "or empty for none.",
                option="autoaugment_policy",
            )
        upper_bounds = {"randaug_magnitude": 10, "hsv_hue": 0.5, "hsv_saturation": 1, "hsv_value": 1}
        for name, upper in {**upper_bounds, "min_visibility": 1}.items():
            if not 0 <= getattr(self, name) <= upper:
                raise OptionsError(
                    f"{name} must be between 0 and {upper}. Received {getattr(self, name)}; "
                    "leave it out for the default.",
                    option=name,
                )
