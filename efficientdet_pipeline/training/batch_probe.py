"""The largest batch that fits, found by taking steps in a process of its own: if it is killed, no harm is done.

python3 -m efficientdet_pipeline.training.batch_probe < what.json    prints `fits 8`, `fits 16`, …
python3 -m efficientdet_pipeline.training.batch_probe what.json      says which batch fits, and deletes the file
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from efficientdet_pipeline.errors import ExitCode, OptionsError
from efficientdet_pipeline.system import free_memory, is_out_of_memory, peak_memory

_MEMORY_SHARE = 0.85
"""Of a machine's free memory that a batch may take on a CPU; the loader and the system want some as well."""
_REFUSED = "refused "
"""What a line begins with that tells why a training would not begin at all."""
_MEASURED = (1, 3)
"""Batches, in shares, that the memory of all others is computed from on a CPU, where a step takes its time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """What is trained, and how large its batches might be."""

    options: dict[str, Any]
    """Of the training."""
    hparams: dict[str, Any]
    """Of the network."""
    max_instances: int
    most: int
    """Photos a step beyond which nothing is tried."""


def largest_batch(probe: Probe) -> int:
    """Returns the largest batch that fits, or 0 if none does.

    Raises:
      OptionsError: the training refuses an option.
    """
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name],
        input=json.dumps(dataclasses.asdict(probe)),
        capture_output=True,
        text=True,
        check=False,
    )
    refused = [line.removeprefix(_REFUSED) for line in done.stdout.splitlines() if line.startswith(_REFUSED)]
    if refused:
        raise OptionsError(refused[0])
    # A process that dies of a batch has named those that fitted before.
    fitting = [int(line.removeprefix("fits ")) for line in done.stdout.splitlines() if line.startswith("fits ")]
    if not fitting and not is_out_of_memory(done.stderr) and done.returncode >= 0:
        raise RuntimeError(f"The search for the largest batch failed: {done.stderr.strip().splitlines()[-1:]}")
    return max(fitting, default=0)


def later(what: dict[str, Any]) -> tuple[str, ...]:
    """Returns the arguments of a Python that says which batch fits, of a probe as a dictionary; they name a file."""
    descriptor, path = tempfile.mkstemp(suffix=".json")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(what, file)
    return "-m", __spec__.name, path


def _fitting(probe: Probe) -> Iterator[int]:
    """Yields batches that fit, each larger than the one before."""
    from efficientdet_pipeline.training import strategy

    share = strategy.count(probe.options["strategy"]) * probe.options["accumulate_steps"]
    step = _Step(probe, share)
    if strategy.is_on_cpu():
        limit = _MEMORY_SHARE * free_memory() + peak_memory()
        peaks = []
        for shares in _MEASURED:
            step.take(shares * share)
            peaks.append(peak_memory())
            if shares == 1:
                # Should the system end this process at the next, one is known to fit.
                yield share
        # The first batch also pays for the network and the tracing of the step.
        a_share = max(1.0, (peaks[1] - peaks[0]) / (_MEASURED[1] - _MEASURED[0]))
        fitting = max(1, int(_MEASURED[1] + (limit - peaks[1]) // a_share))
        largest = min(_power_of_two(fitting) * share, probe.most // share * share)
        if largest > share:
            yield largest
        return
    batch = share
    while batch <= max(share, probe.most):
        try:
            step.take(batch)
        except Exception as error:
            if is_out_of_memory(error):
                return
            raise
        yield batch
        batch *= 2


def _power_of_two(most: int) -> int:
    return 1 << (most.bit_length() - 1)


class _Step:
    """The whole training step on random photos."""

    def __init__(self, probe: Probe, batch: int):
        import efficientdet
        from efficientdet.config import DetectorConfig

        from efficientdet_pipeline.options.training import TrainOptions
        from efficientdet_pipeline.training import strategy
        from efficientdet_pipeline.training.build import build_training_model

        options = TrainOptions(**{**probe.options, "batch_size": batch, "steps_per_execution": 1})
        self.config = DetectorConfig(**probe.hparams)
        self.max_instances = probe.max_instances
        with strategy.build_strategy(options).scope():
            detector = efficientdet.build_model(self.config)
            self.model = build_training_model(detector, self.config, options, steps_per_epoch=1)

    def take(self, batch: int) -> None:
        import numpy as np
        from efficientdet.types import GroundTruth

        images = np.random.default_rng(0).standard_normal((batch, *self.config.image_size, 3), dtype="float32")
        boxes = np.tile(np.array([0.0, 0.0, 32.0, 32.0], "float32"), (batch, self.max_instances, 1))
        truth = GroundTruth(boxes, np.ones((batch, self.max_instances), "int32"))
        # Twice: the second step has the gradients of none before it, but slots and averages in place.
        self.model.fit(images, truth, batch_size=batch, epochs=2, verbose=0)


def main() -> None:
    """Prints each batch that fits of what standard input describes; or says, of a file's, which one does."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        probe = Probe(**json.loads(path.read_text(encoding="utf-8")))
        path.unlink()
        print("Taking steps to see what fits.", file=sys.stderr, flush=True)
        fitting = largest_batch(probe)
        advice = f"try --batch_size={fitting}: it fits" if fitting else "not one photo fits; try a smaller --image_size"
        print(f"error: {advice}.", file=sys.stderr)
        sys.exit(int(ExitCode.OPTIONS))
    try:
        for batch in _fitting(Probe(**json.load(sys.stdin))):
            print(f"fits {batch}", flush=True)
    except OptionsError as error:
        print(f"{_REFUSED}{error}")


if __name__ == "__main__":
    main()
