"""Options of the training benchmark over batch sizes."""

from dataclasses import dataclass

from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.general import check
from efficientdet_pipeline.options.schema import option
from efficientdet_pipeline.options.training import TrainOptions

DEFAULT_SECONDS = 5.0
_OF_A_RUN = ("run_name", "overwrite", "path_output", "save_freq", "keep", "patience")


@dataclass(frozen=True, kw_only=True)
class SweepOptions(TrainOptions):
    """Training benchmark by batch size."""

    batch_sizes: str = option("")
    """Comma-separated batch sizes to measure with what=train, such as 8,16,32. Default: half of batch_size,
    batch_size, and twice batch_size."""
    benchmark_seconds: float = option(DEFAULT_SECONDS)
    """Approximate duration in seconds of each measurement with what=train; at least three batches are measured."""

    def __post_init__(self) -> None:
        """Checks the sizes and the seconds."""
        super().__post_init__()
        seconds = self.benchmark_seconds
        check(seconds > 0, "benchmark_seconds", seconds, "above 0", "leave it out for the default")
        if getattr(self, "what", "train") == "train":
            batch_sizes(self)
        if getattr(self, "what", "train") != "train" and (self.batch_sizes or seconds != DEFAULT_SECONDS):
            logging.warning("batch_sizes and benchmark_seconds have no effect without --what=train.")
        idle = [name for name in _OF_A_RUN if getattr(self, name) != self.__dataclass_fields__[name].default]
        if idle:
            logging.warning("No effect in --mode=benchmark, which keeps no run: --%s.", ", --".join(idle))


def batch_sizes(options: SweepOptions) -> tuple[int, ...]:
    """Returns the batch sizes to measure, the smallest first.

    Raises:
      OptionsError: it is not a list of positive integers.
    """
    if options.batch_sizes:
        words = [word.strip() for word in options.batch_sizes.split(",")]
        if not all(word.isdecimal() and int(word) for word in words):
            raise OptionsError(
                "batch_sizes must be whole numbers above 0, separated by commas. "
                f"Received {options.batch_sizes!r}; try 8,16,32.",
                option="batch_sizes",
            )
        return tuple(sorted({int(word) for word in words}))
    given, parts = options.batch_size, options.accumulate_steps
    if not given:
        raise OptionsError(
            "what=train needs explicit batch sizes. Received batch_size=auto, which is determined by training; "
            "try --batch_sizes=8,16,32.",
            option="batch_size",
        )
    # Half of a batch size need not be divisible by the number of devices.
    halves = given % (2 * parts) == 0 and not options.strategy
    return (*((given // 2,) if halves else ()), given, 2 * given)
