"""Options that say how training photos are varied."""

from dataclasses import dataclass

from efficientdet_pipeline.options.declare import option
from efficientdet_pipeline.options.network import PretrainedOptions
from efficientdet_pipeline.options.run import check, check_choice

POLICIES = ("", "v0", "v1", "v2", "v3", "test", "randaug")


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(PretrainedOptions):
    """How photos are varied."""

    input_rand_hflip: bool = option(True, shapes=True)
    """Mirror every other photo."""
    jitter_min: float = option(0.7, shapes=True)
    """Smallest random scale of a photo; google/automl takes 0.1, which suits long runs on many photos."""
    jitter_max: float = option(1.4, shapes=True)
    """Largest random scale of a photo; google/automl takes 2.0."""
    autoaugment_policy: str = option("", choices=POLICIES, shapes=True)
    """AutoAugment policy: v0, v1, v2, v3, test or randaug; empty for none."""
    grid_mask: bool = option(False, shapes=True)
    """Blot out a random grid of squares."""

    def __post_init__(self) -> None:
        """Checks the scales and the policy."""
        super().__post_init__()
        low, high = self.jitter_min, self.jitter_max
        check(0.0 < low <= high, "jitter_min", low, f"above 0 and at most jitter_max ({high})", "try 0.7")
        check_choice("autoaugment_policy", self.autoaugment_policy, POLICIES)
