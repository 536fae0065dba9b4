"""Profile of our step on JAX, for `gpu_suite.py`: time by kernel, and slow convolutions against themselves alone."""

import gzip
import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import gpu_step_jax
import jax
from compiled_convolutions import convolutions_of, odd_choices, seconds_alone
from gpu_given import Given, Notes

STEPS = 2
ROWS = 25
TRIED_ALONE = 5
"""Slowest convolutions that are compiled and timed by themselves."""
PATHOLOGICAL = 3.0
"""A convolution that takes this many times as long in the step as alone is reported as badly compiled."""


def measured(given: Given, notes: Notes) -> None:
    """Notes the kernels of a step, and its slow convolutions."""
    stepper = gpu_step_jax.compiled_step(given, notes)
    stepper.run(2)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            stepper.run(STEPS)
        kernels = kernels_of(Path(folder))
    text = stepper.step.as_text()
    total = sum(each["ms"] for each in kernels)
    notes.add({"kernel_ms": total, "launches": sum(each["launches"] for each in kernels)})
    notes.add({"by_kind": grouped(kernels, lambda each: kind_of(each["kernel"]))})
    operations = dict(re.findall(r"%([\w.\-]+) = .*op_name=\"([^\"]*)\"", text))
    for each in kernels:
        each["operation"] = operations.get(each["hlo"], "")
    notes.add({"by_kernel": kernels[:ROWS]})
    milliseconds = {each["hlo"]: each["ms"] for each in kernels}
    convolutions = convolutions_of(text)
    notes.add({"odd_convolutions": [each.operation for each in odd_choices(convolutions)]})
    slowest = sorted(convolutions, key=lambda each: -milliseconds.get(each.name, 0.0))[:TRIED_ALONE]
    rows = []
    for each in slowest:
        alone, inside = seconds_alone(each), milliseconds.get(each.name, 0.0)
        row = {
            "operation": each.operation,
            "algorithm": each.algorithm,
            "ms": inside,
            "megabytes": each.num_bytes / 1e6,
        }
        rows.append(row | {"ms_alone": None if alone is None else alone * 1e3})
        if alone is not None and inside > PATHOLOGICAL * alone * 1e3:
            notes.say(f"badly compiled: {each.operation} takes {inside:.2f} ms, and {alone * 1e3:.2f} ms alone")
        notes.add({"convolutions": rows})


def kernels_of(folder: Path) -> list[dict[str, Any]]:
    """Returns the kernels of a trace, slowest first, in milliseconds and launches of a step."""
    (path,) = folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = [each for each in events if each.get("ph") == "M"]
    processes = {each["pid"]: each["args"]["name"] for each in names if each["name"] == "process_name"}
    threads = {(each["pid"], each["tid"]): each["args"]["name"] for each in names if each["name"] == "thread_name"}
    has_gpu = any("GPU" in name for name in processes.values())
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0])
    for event in events:
        if event.get("ph") != "X":
            continue
        hlo = event.get("args", {}).get("hlo_op", "")
        thread = threads.get((event["pid"], event["tid"]), "")
        # A GPU's events are repeated in derived lines; a stream has each kernel once. A CPU has only its operations.
        is_kernel = thread.startswith("Stream") and "GPU" in processes.get(event["pid"], "") if has_gpu else bool(hlo)
        if is_kernel:
            entry = sums[hlo, event["name"]]
            entry[0] += event["dur"] / 1e3 / STEPS
            entry[1] += 1 / STEPS
    rows = [{"hlo": hlo, "kernel": name[:120], "ms": ms, "launches": n} for (hlo, name), (ms, n) in sums.items()]
    return sorted(rows, key=lambda each: -each["ms"])


def kind_of(kernel: str) -> str:
    """Returns the name of a kernel without its number and template arguments."""
    return re.sub(r"[._]\d+$", "", re.sub(r"<.*", "", kernel.removeprefix("void ")))


def grouped(kernels: list[dict[str, Any]], key: Any) -> list[dict[str, Any]]:
    """Returns milliseconds and launches of a step by kind of kernel, slowest first."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for each in kernels:
        entry = sums[key(each)]
        entry[0] += each["ms"]
        entry[1] += each["launches"]
    rows = [{"kind": kind, "ms": ms, "launches": launches} for kind, (ms, launches) in sums.items()]
    return sorted(rows, key=lambda each: -each["ms"])[:ROWS]
