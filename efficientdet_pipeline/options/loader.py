"""Input pipeline options."""

from dataclasses import dataclass

from efficientdet_pipeline.options.schema import Options, check, check_choice, option

CACHES = ("none", "memory", "disk")


@dataclass(frozen=True, kw_only=True)
class LoaderOptions(Options):
    """Input pipeline."""

    cache: str = option(
        "none",
        "Cache decoded training images: in memory, or on disk in the run's folder until the run ends.",
        choices=CACHES,
    )
    class_balance: float = option(
        0.0,
        "Oversampling of images with rare classes, 0 to 1. 0: none, 0.5: by the square root of the inverse "
        "class frequency, 1: by the inverse class frequency.",
        shapes=True,
    )

    def __post_init__(self) -> None:
        """Checks the cache and the class balance."""
        super().__post_init__()
        check_choice("cache", self.cache, CACHES)
        check(0.0 <= self.class_balance <= 1.0, "class_balance", self.class_balance, "between 0 and 1", "try 0.5")
