"""Options of --mode=benchmark."""

from dataclasses import dataclass

from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.general import ModeOptions
from efficientdet_pipeline.options.schema import check, check_choice, declarations, flatten, option
from efficientdet_pipeline.options.training import TrainOptions

SUBJECTS = ("loader", "train")
DEFAULT_SECONDS = 5.0
_OF_A_RUN = ("recipe", "run_name", "overwrite", "path_output", "save_freq", "keep", "patience", "formats")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(ModeOptions):
    """Benchmark of a training; takes the options of --mode=traineval."""

    training: TrainOptions
    what: str = option(
        "loader",
        "loader: images per second of the input pipeline, by stage. train: the input pipeline alone, the "
        "training step alone and both together, for several batch sizes.",
        choices=SUBJECTS,
    )
    rounds: int = option(5, "Number of measurements of each part, interleaved; the median is reported.")
    output: str = option("", "JSON file to write the measurements to.", path="path")
    batch_sizes: str = option(
        "",
        "Comma-separated batch sizes to measure with what=train, such as 8,16,32. Default: half of "
        "batch_size, batch_size, and twice batch_size.",
    )
    benchmark_seconds: float = option(
        DEFAULT_SECONDS,
        "Approximate duration in seconds of each measurement with what=train; at least three batches are measured.",
    )

    @property
    def keras_backend(self) -> str | None:
        """Returns --backend; empty: that of the environment."""
        return self.training.keras_backend

    def __post_init__(self) -> None:
        """Checks the subject, the rounds, the batch sizes and the seconds."""
        super().__post_init__()
        check_choice("what", self.what, SUBJECTS)
        check(self.rounds >= 1, "rounds", self.rounds, "at least 1", "try 5")
        seconds = self.benchmark_seconds
        check(seconds > 0, "benchmark_seconds", seconds, "above 0", "leave it out for the default")
        if self.what == "train":
            self.measured_batch_sizes()
        elif self.batch_sizes or seconds != DEFAULT_SECONDS:
            logging.warning("batch_sizes and benchmark_seconds have no effect without --what=train.")
        values, declared = flatten(self.training), declarations(TrainOptions)
        idle = [name for name in _OF_A_RUN if values[name] != declared[name].default]
        if idle:
            logging.warning("No effect in --mode=benchmark, which keeps no run: --%s.", ", --".join(idle))

    def measured_batch_sizes(self) -> tuple[int, ...]:
        """Returns the batch sizes to measure, the smallest first.

        Raises:
          OptionsError: batch_sizes is not a list of positive integers.
        """
        if self.batch_sizes:
            words = [word.strip() for word in self.batch_sizes.split(",")]
            if not all(word.isdecimal() and int(word) for word in words):
                raise OptionsError(
                    "batch_sizes must be whole numbers above 0, separated by commas. "
                    f"Received {self.batch_sizes!r}; try 8,16,32.",
                    option="batch_sizes",
                )
            return tuple(sorted({int(word) for word in words}))
        given, parts = self.training.optimizer.batch_size, self.training.hardware.accumulate_steps
        if not given:
            raise OptionsError(
                "what=train needs explicit batch sizes. Received batch_size=auto, which is determined by training; "
                "try --batch_sizes=8,16,32.",
                option="batch_size",
            )
        # Half of a batch size need not be divisible by the number of devices.
        halves = given % (2 * parts) == 0 and not self.training.hardware.strategy
        return (*((given // 2,) if halves else ()), given, 2 * given)
