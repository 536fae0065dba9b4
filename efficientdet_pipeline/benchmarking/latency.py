"""Latency of detectors, network alone and end to end: batch sizes, threads, percentiles, memory, interleaved rounds."""

import io
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from efficientdet_pipeline.benchmarking import machine
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.predictor import Predictor
from tfrmod import fileio

PARTS = ("network", "end_to_end")
"""network: canvases in, raw outputs out. end_to_end: images in, detections out."""

_PERCENTILES = (50, 90, 99)
_INCHES, _BAR = (8.0, 4.5), 0.8


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One artifact with a number of threads."""

    name: str
    """Name of its format, or "checkpoint"."""
    predictor: Predictor
    run_network: Callable[[np.ndarray], object] | None = None
    """From canvases (b, H, W, 3) to raw outputs; None if the artifact cannot run its network alone."""
    threads: int | None = None
    """Threads of its runtime; None for the runtime's default."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings of a measurement."""

    image_size: tuple[int, int] = (480, 640)
    """Height and width of the images, in pixels."""
    canvas: tuple[int, int] = (512, 512)
    """Height and width of the network's canvas."""
    batch_sizes: tuple[int, ...] = (1,)
    warmup: int = 3
    """Calls before measuring, per artifact, part and batch size: they trace, compile and fill caches."""
    rounds: int = 30
    """Measured calls; artifacts are interleaved in each round, so that all are measured under the same conditions."""

    def __post_init__(self) -> None:
        """Checks that the numbers are positive."""
        wrong = [name for name in ("warmup", "rounds") if getattr(self, name) < 1]
        if wrong or not self.batch_sizes or min(self.batch_sizes) < 1:
            raise OptionsError(
                f"warmup, rounds and batch sizes must be 1 or more. Received warmup={self.warmup}, "
                f"rounds={self.rounds}, batch_sizes={self.batch_sizes}."
            )


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Latency of one artifact, part and batch size; times in milliseconds per batch."""

    name: str
    part: str
    batch_size: int
    threads: int | None
    wall: dict[str, float]
    """mean, min, p50, p90, p99."""
    cpu: float
    """Median CPU time of this process, over all cores."""
    images_per_second: float
    """From the median."""
    first_call: float
    """First call, which traces and compiles."""
    memory_bytes: int | None
    """Memory growth of the process during the first calls; None if unknown."""


def measure_latency(candidates: Sequence[Candidate], plan: Plan) -> list[Latency]:
    """Returns the latency of each candidate, for both parts and all batch sizes.

    An artifact that takes one image at a time gets the images of a batch one by
    one, as in its predictor.

    Raises:
      OptionsError: there are no candidates, or two with the same name and number of threads.
    """
    names = [(each.name, each.threads) for each in candidates]
    if not names or len(set(names)) < len(names):
        raise OptionsError(f"Latency needs one or more distinct artifacts. Received {names}.")
    found = []
    for batch_size in plan.batch_sizes:
        for part in PARTS:
            calls = {
                each: call for each in candidates if (call := _call(each, part, batch_size, plan, seed=0)) is not None
            }
            if calls:
                found += _measured(calls, part, batch_size, plan)
    return found


def _call(candidate: Candidate, part: str, batch_size: int, plan: Plan, *, seed: int) -> Callable[[], object] | None:
    random = np.random.default_rng(seed)
    if part == "end_to_end":
        images = random.integers(0, 256, (batch_size, *plan.image_size, 3), np.uint8)
        return lambda: candidate.predictor.detect(images)
    run = candidate.run_network
    if run is None:
        return None
    canvases = random.integers(0, 256, (batch_size, *plan.canvas, 3)).astype(np.float32)
    return lambda: run(canvases)


def _measured(calls: Mapping[Candidate, Callable[[], object]], part: str, batch_size: int, plan: Plan) -> list[Latency]:
    first, memory = {}, {}
    for candidate, call in calls.items():
        before = machine.host_bytes()
        first[candidate] = _timed(call)[0]
        for _ in range(plan.warmup - 1):
            call()
        after = machine.host_bytes()
        memory[candidate] = None if before is None or after is None else max(0, after - before)
    taken: dict[Candidate, list[tuple[float, float]]] = {candidate: [] for candidate in calls}
    for number in range(plan.rounds):
        order = list(calls)
        # Each round starts with another artifact, because the first one after a pause is slower.
        for candidate in order[number % len(order) :] + order[: number % len(order)]:
            taken[candidate].append(_timed(calls[candidate]))
    return [
        _latency(candidate, part, batch_size, times, first[candidate], memory[candidate])
        for candidate, times in taken.items()
    ]


def _latency(
    candidate: Candidate,
    part: str,
    batch_size: int,
    times: Sequence[tuple[float, float]],
    first: float,
    memory: int | None,
) -> Latency:
    walls = [wall for wall, _ in times]
    wall = {"mean": statistics.fmean(walls), "min": min(walls)}
    wall |= {f"p{percent}": float(np.percentile(walls, percent)) for percent in _PERCENTILES}
    return Latency(
        name=candidate.name,
        part=part,
        batch_size=batch_size,
        threads=candidate.threads,
        wall={name: round(value, 3) for name, value in wall.items()},
        cpu=round(statistics.median(cpu for _, cpu in times), 3),
        images_per_second=round(1000 * batch_size / wall["p50"], 2),
        first_call=round(first, 1),
        memory_bytes=memory,
    )


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Returns wall and CPU milliseconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def table(latencies: Sequence[Latency]) -> str:
    """Returns the latencies as a table: one line per artifact, part, threads and batch size."""
    rows = [["artifact", "part", "threads", "batch", "p50 ms", "p90", "p99", "min", "CPU ms", "images/s", "MB"]]
    for each in latencies:
        memory = "" if each.memory_bytes is None else f"{each.memory_bytes / 1e6:.0f}"
        numbers = [f"{each.wall[name]:.1f}" for name in ("p50", "p90", "p99", "min")]
        threads = "auto" if each.threads is None else str(each.threads)
        numbers += [f"{each.cpu:.1f}", f"{each.images_per_second:.1f}", memory]
        rows.append([each.name, each.part.replace("_", " "), threads, str(each.batch_size), *numbers])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def write_json(path: Path, latencies: Sequence[Latency], plan: Plan) -> None:
    """Writes latencies, plan and machine as JSON, atomically."""
    content: dict[str, Any] = {
        "unit": "milliseconds per batch",
        "latencies": [asdict(each) for each in latencies],
        "plan": asdict(plan),
        "machine": machine.description(),
    }
    fileio.write_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def draw(path: Path, latencies: Sequence[Latency], *, title: str) -> None:
    """Draws a bar chart as PNG: the median of each artifact, with a line to the 90th percentile."""
    # Not pyplot, which keeps its figures for the lifetime of the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = _INCHES
    figure = Figure(figsize=(width, max(height, 0.28 * len(latencies) + 1.2)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colors = {"network": "#56b4e9", "end_to_end": "#0072b2"}
    medians = [each.wall["p50"] for each in latencies]
    above = [max(0.0, each.wall["p90"] - each.wall["p50"]) for each in latencies]
    bars = axes.barh(
        range(len(latencies)),
        medians,
        _BAR,
        xerr=[[0.0] * len(above), above],
        color=[colors[each.part] for each in latencies],
        ecolor="#555555",
    )
    axes.bar_label(bars, [f"{median:.1f}" for median in medians], fontsize="small", padding=3)
    axes.set_yticks(range(len(latencies)), [_label(each) for each in latencies], fontsize="small")
    axes.margins(x=0.06, y=0.01)  # Room for the last label; none above and below many bars.
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds per batch: median, line to the 90th percentile")
    axes.set_title(title, fontsize="medium", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    fileio.write_file(path, image.getvalue())


def _label(each: Latency) -> str:
    threads = "" if each.threads is None else f", {each.threads} thread" + "s" * (each.threads > 1)
    return f"{each.name}, {each.part.replace('_', ' ')}, batch {each.batch_size}{threads}"
