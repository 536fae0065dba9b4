"""Times several things against each other; needs nothing but Python."""

import statistics
import time
from collections.abc import Callable, Mapping


def median_seconds(steps: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Returns the median seconds of each step, taken in turns so that all see the same machine."""
    for step in steps.values():
        for _ in range(3):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}
