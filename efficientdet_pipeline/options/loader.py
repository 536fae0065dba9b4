"""Options that say how photos get from the shards to the training."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import GeneralOptions, check, check_choice
from efficientdet_pipeline.options.schema import option

CACHES = ("none", "memory", "disk")


@dataclass(frozen=True, kw_only=True)
class LoaderOptions(GeneralOptions):
    """How photos are loaded."""

    cache: str = option("none", choices=CACHES)
    """Decode the training photos once and keep them: in memory, or on disk in the run's folder until the run ends."""
    class_balance: float = option(0.0, shapes=True)
    """Show photos of rare classes more often: 0 not at all, 0.5 by the square root of the rarity, 1 in full."""

    def __post_init__(self) -> None:
        """Checks the cache and the balance."""
        super().__post_init__()
        check_choice("cache", self.cache, CACHES)
        check(0.0 <= self.class_balance <= 1.0, "class_balance", self.class_balance, "between 0 and 1", "try 0.5")
