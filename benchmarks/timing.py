"""Interleaved timing of several functions; needs only Python."""

import statistics
import time
from collections.abc import Callable, Mapping


def median_seconds(
    steps: Mapping[str, Callable[[], None]],
    rounds: int,
    *,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Returns the median seconds of each step, interleaved, so that all are measured under the same conditions.

    Args:
      steps: functions by name.
      rounds: in each of which every step is called once.
      warm_up: calls of each step before.
      clock: `time.process_time` measures the time of all processor cores, which other programs change little.
    """
    for step in steps.values():
        for _ in range(warm_up):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = clock()
            step()
            seconds[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}
