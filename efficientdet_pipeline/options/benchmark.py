"""Options of --mode=benchmark."""

from dataclasses import dataclass

from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.general import ModeOptions
from efficientdet_pipeline.options.latency import LatencyOptions
from efficientdet_pipeline.options.schema import check, check_choice, declarations, flatten, option
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.options.values import positive_numbers

SUBJECTS = ("loader", "train", "latency")
DEFAULT_SECONDS = 5.0
_ROUNDS = {"latency": 30}
_DEFAULT_ROUNDS = 5
_OF_A_RUN = ("recipe", "run_name", "overwrite", "path_output", "save_freq", "keep", "patience", "formats")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(ModeOptions):
    """Benchmark of a training, or of a trained detector."""

    training: TrainOptions
    latency: LatencyOptions
    what: str = option(
        "loader",
        "loader: images per second of the input pipeline, by stage. train: the input pipeline alone, the "
        "training step alone and both together, for several batch sizes. latency: a run's checkpoint and every "
        "artifact of its export, the network alone and end to end.",
        choices=SUBJECTS,
    )
    rounds: int | None = option(
        None,
        "Number of measurements of each part, interleaved; the median is reported. Default: 5; 30 with what=latency.",
    )
    output: str = option(
        "", "JSON file to write the measurements to; with what=latency also a chart, as .png beside it.", path="path"
    )
    batch_sizes: str = option(
        "",
        "Comma-separated batch sizes to measure with what=train or latency, such as 8,16,32. Default: half of "
        "batch_size, batch_size, and twice batch_size; 1 with what=latency.",
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
        check(self.num_rounds >= 1, "rounds", self.rounds, "at least 1", "try 5")
        seconds = self.benchmark_seconds
        check(seconds > 0, "benchmark_seconds", seconds, "above 0", "leave it out for the default")
        self.measured_batch_sizes()
        if self.what != "latency":
            self.training.check_data()
        if seconds != DEFAULT_SECONDS and self.what != "train":
            logging.warning("benchmark_seconds has no effect without --what=train.")
        if self.batch_sizes and self.what == "loader":
            logging.warning("batch_sizes has no effect with --what=loader.")
        values, declared = flatten(self.training), declarations(TrainOptions)
        idle = [name for name in _OF_A_RUN if values[name] != declared[name].default]
        if idle:
            logging.warning("No effect in --mode=benchmark, which writes no run: --%s.", ", --".join(idle))

    @property
    def num_rounds(self) -> int:
        """Returns the number of measurements of each part."""
        return _ROUNDS.get(self.what, _DEFAULT_ROUNDS) if self.rounds is None else self.rounds

    def without_effect(self) -> dict[str, str]:
        """Returns the options of a training if what=latency, else those of latency."""
        if self.what != "latency":
            return dict.fromkeys(flatten(self.latency), "only --what=latency measures a trained detector")
        groups = (self.training.general, self.training.run, self.training.model)
        kept = {name for group in groups for name in flatten(group)}
        reason = "--what=latency measures a trained detector"
        return {name: reason for name in flatten(self.training) if name not in kept}

    def measured_batch_sizes(self) -> tuple[int, ...]:
        """Returns the batch sizes to measure, the smallest first; with what=loader the one of training.

        Raises:
          OptionsError: batch_sizes is not a list of positive integers, or none is given.
        """
        if self.batch_sizes and self.what != "loader":
            return positive_numbers("batch_sizes", self.batch_sizes, example="8,16,32")
        if self.what == "latency":
            return (1,)
        given, parts = self.training.optimizer.batch_size, self.training.hardware.accumulate_steps
        if not given:
            raise OptionsError(
                f"what={self.what} needs an explicit batch size. Received batch_size=auto, which is determined by "
                f"training; try {'--batch_size=8' if self.what == 'loader' else '--batch_sizes=8,16,32'}.",
                option="batch_size",
            )
        if self.what == "loader":
            return (given,)
        # Half of a batch size need not be divisible by the number of devices.
        halves = given % (2 * parts) == 0 and not self.training.hardware.strategy
        return (*((given // 2,) if halves else ()), given, 2 * given)
