"""Search for the largest batch that fits, in a subprocess that the OOM killer may kill.

python3 -m efficientdet_pipeline.training.batch_probe < what.json    prints `fits 8`, `fits 16`, …
python3 -m efficientdet_pipeline.training.batch_probe what.json      prints which batch fits, and deletes the file
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from efficientdet_pipeline.errors import ExitCode, OptionsError
from efficientdet_pipeline.options.schema import Value, compose
from efficientdet_pipeline.system import free_memory, is_out_of_memory, peak_memory

_MEMORY_SHARE = 0.85
"""Share of the free memory that a batch may use on a CPU; the loader and the system need the rest."""
_REJECTED = "refused "
"""Prefix of an output line with an option error."""
_MEASURED_SHARES = (1, 3)
"""Batch sizes, as shares of the maximum, measured on a CPU; others are extrapolated, because CPU steps are slow."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """Training options and network to search for."""

    options: dict[str, Value]
    """Training options."""
    task: str
    network: dict[str, object]
    """Description of the network; see `tasks.task.NetworkDescription.as_dict`."""
    max_instances: int
    max_batch: int
    """Largest batch to try, images per step."""


def largest_batch(probe: Probe) -> int:
    """Returns the largest batch that fits, or 0 if none does.

    Raises:
      OptionsError: an option is invalid.
    """
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name],
        input=json.dumps(dataclasses.asdict(probe)),
        capture_output=True,
        text=True,
        check=False,
    )
    rejected = [line.removeprefix(_REJECTED) for line in done.stdout.splitlines() if line.startswith(_REJECTED)]
    if rejected:
        raise OptionsError(rejected[0])
    # A process that was killed by a batch has printed those that fit before.
    fitting = [int(line.removeprefix("fits ")) for line in done.stdout.splitlines() if line.startswith("fits ")]
    if not fitting and not is_out_of_memory(done.stderr) and done.returncode >= 0:
        raise RuntimeError(f"The search for the largest batch failed: {done.stderr.strip().splitlines()[-1:]}")
    return max(fitting, default=0)


def deferred_command(what: dict[str, object]) -> tuple[str, ...]:
    """Returns Python arguments that run the search for a probe (a dictionary) later; the probe is passed in a file."""
    descriptor, path = tempfile.mkstemp(suffix=".json")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(what, file)
    return "-m", __spec__.name, path


def _fitting_batches(probe: Probe) -> Iterator[int]:
    """Yields batches that fit, each larger than the one before."""
    from efficientdet_pipeline.training import strategy

    share = strategy.count(str(probe.options["strategy"])) * int(probe.options["accumulate_steps"] or 1)
    step = _Step(probe, share)
    if strategy.is_on_cpu():
        limit = _MEMORY_SHARE * free_memory() + peak_memory()
        peaks = []
        for shares in _MEASURED_SHARES:
            step.run(shares * share)
            peaks.append(peak_memory())
            if shares == 1:
                # If the system kills this process at the next batch, one is known to fit.
                yield share
        # The first batch also includes building the network and tracing the step.
        a_share = max(1.0, (peaks[1] - peaks[0]) / (_MEASURED_SHARES[1] - _MEASURED_SHARES[0]))
        fitting = max(1, int(_MEASURED_SHARES[1] + (limit - peaks[1]) // a_share))
        largest = min(_power_of_two(fitting) * share, probe.max_batch // share * share)
        if largest > share:
            yield largest
        return
    batch = share
    while batch <= max(share, probe.max_batch):
        try:
            step.run(batch)
        except Exception as error:
            if is_out_of_memory(error):
                return
            raise
        yield batch
        batch *= 2


def _power_of_two(max_batch: int) -> int:
    return 1 << (max_batch.bit_length() - 1)


class _Step:
    """The complete training step on random images."""

    def __init__(self, probe: Probe, batch: int):
        from efficientdet_pipeline.options.training import TrainOptions
        from efficientdet_pipeline.tasks import task_named
        from efficientdet_pipeline.training import strategy
        from efficientdet_pipeline.training.build import build_training_model

        options = compose(TrainOptions, probe.options, batch_size=batch, steps_per_execution=1)
        task = task_named(probe.task)
        self.setup = task.setup_of_description(probe.network, options, max_instances=probe.max_instances)
        with strategy.build_strategy(options).scope():
            network = self.setup.build_model()
            self.model = build_training_model(network, self.setup.objective(), options, steps_per_epoch=1)

    def run(self, batch: int) -> None:
        images, truth = self.setup.random_batch(batch)
        # Twice: in the second step, optimizer slots and averages are allocated.
        self.model.fit(images, truth, batch_size=batch, epochs=2, verbose=0)


def main() -> None:
    """Prints each batch that fits for the probe on standard input, or the largest for a probe in a file."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        probe = Probe(**json.loads(path.read_text(encoding="utf-8")))
        path.unlink()
        print("Running training steps to find the largest batch that fits.", file=sys.stderr, flush=True)
        fitting = largest_batch(probe)
        advice = (
            f"try --batch_size={fitting}: it fits" if fitting else "not even one image fits; try a smaller --image_size"
        )
        print(f"error: {advice}.", file=sys.stderr)
        sys.exit(int(ExitCode.OPTIONS))
    try:
        for batch in _fitting_batches(Probe(**json.load(sys.stdin))):
            print(f"fits {batch}", flush=True)
    except OptionsError as error:
        print(f"{_REJECTED}{error}")


if __name__ == "__main__":
    main()
