"""Interleaved timing of several functions; needs only Python."""

import statistics
import time
from collections.abc import Callable, Mapping


def median_seconds(steps: Mapping[str, Callable[[], None]], rounds: int, *, warm_up: int = 3) -> dict[str, float]:
    """Returns the median seconds of each step, interleaved, so that all are measured under the same conditions."""
    for step in steps.values():
        for _ in range(warm_up):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}
