"""All figures of a GPU in one command: our training step, its profile, effdet on PyTorch, other networks, and memory.

The phases run in order of worth, each in its own process with its own limit; the JSON is written after each result, and
progress goes to stderr. A phase that runs out of time or memory leaves what it has, and the next one follows. What a
phase needs and this machine lacks is said in one line. Twelve minutes are enough for the first phases on an H100: XLA
compiles a step for two and a half minutes, and the later phases run while time is left.

Ours: the whole step in bfloat16, anchor matching on the device, both losses, clipping, momentum and weight averaging.
The peer: the same network of `effdet` (timm), autocast to bfloat16, channels_last, with labels prepared once and timed
apart. Both have the same batch in device memory.

    python3 benchmarks/gpu_suite.py --output=gpu.json
    python3 benchmarks/gpu_suite.py --only=ours,peer,peer_compiled --output=gpu.json
    python3 benchmarks/gpu_suite.py --tiny --output=tiny.json     # a tiny network, also on a CPU
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_given import Given, Notes, failure, load_average

JAX, TORCH, TENSORFLOW = ("jax", "keras"), ("torch", "torchvision", "timm", "effdet", "omegaconf"), ("tensorflow",)
GIVEN = Given(
    model_name="efficientdet-d0",
    image_size=512,
    num_classes=90,
    precision="mixed_bfloat16",
    batch_size=128,
    steps=3,
    rounds=6,
)
STAGES = ["r1_k3_s11_e1_i32_o8_se0.25", "r2_k3_s22_e1_i8_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 3]
TINY = {
    "image_size": 64,
    "num_classes": 2,
    "precision": "float32",
    "batch_size": 2,
    "steps": 1,
    "rounds": 2,
    "network": {
        "max_level": 5,
        "fpn_cell_repeats": 1,
        "fpn_num_filters": 8,
        "box_class_repeats": 1,
        "backbone_config": {"blocks": STAGES},
    },
}
TINY_LIMITS = 10
"""Factor of the limits for tiny phases, which a busy CPU may run."""
LEAST_SECONDS = 20.0
"""With less time left, no phase begins."""
HEARTBEAT_SECONDS = 20.0
DEVICE_SHARE = 0.9
"""Share of the device's memory that the largest batch is planned for."""


@dataclass(frozen=True)
class Phase:
    """One measurement."""

    module: str
    """Its function `measured(given, notes)` is called in a process of its own."""
    needs: tuple[str, ...]
    """Packages without which it is skipped."""
    seconds: float
    """Its limit, on a GPU."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What differs from `GIVEN`."""


PHASES = {
    "ours": Phase("gpu_step_jax", JAX, 260),
    "ours_restarted": Phase("gpu_step_jax", JAX, 90, {"rounds": 2}),
    "profile": Phase("gpu_profile_jax", JAX, 120),
    "peer": Phase("gpu_step_torch", TORCH, 100),
    "peer_compiled": Phase("gpu_step_torch", TORCH, 240, {"compiler": "inductor"}),
    "ours_256": Phase("gpu_step_jax", JAX, 260, {"batch_size": 256}),
    "tensorflow": Phase("gpu_step_tf", TENSORFLOW, 260),
    "d1": Phase("gpu_step_jax", JAX, 300, {"model_name": "efficientdet-d1", "image_size": 640, "batch_size": 64}),
    "d2": Phase("gpu_step_jax", JAX, 300, {"model_name": "efficientdet-d2", "image_size": 768, "batch_size": 32}),
    "lite0": Phase("gpu_step_jax", JAX, 240, {"model_name": "efficientdet-lite0", "image_size": 320}),
    "largest": Phase("gpu_step_jax", JAX, 300, {"rounds": 1}),
    "ours_warmed": Phase("gpu_step_jax", JAX, 260, {"is_warmed": True}),
}


def main() -> int:
    """Runs the phases, writes the results; returns 1 if no phase left a rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"comma-separated phases, of {', '.join(PHASES)}")
    parser.add_argument("--total_seconds", type=float, default=720, help="limit of all phases together")
    parser.add_argument("--tiny", action="store_true", help="a tiny network, batch and image, to try the suite")
    parser.add_argument("--output", default="gpu_suite.json")
    parser.add_argument("--run", nargs=2, metavar=("MODULE", "GIVEN"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        return run_here(args.run[0], Given(**json.loads(args.run[1])), Path(args.output))
    # Ended from outside, the suite ends its phase as well.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    names = [name.strip() for name in args.only.split(",")] if args.only else list(PHASES)
    if unknown := sorted(set(names) - PHASES.keys()):
        parser.error(f"--only must name phases of {', '.join(PHASES)}. Received {', '.join(unknown)}.")
    result = run_all(names, args.total_seconds, Path(args.output), is_tiny=args.tiny)
    print(json.dumps(result["summary"], indent=2))
    return int(not any("images_a_second" in each for each in result["phases"].values()))


def run_all(names: list[str], total_seconds: float, output: Path, *, is_tiny: bool) -> dict[str, Any]:
    """Returns the results of the phases; the file has them after each one."""
    ends = time.monotonic() + total_seconds
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "is_tiny": is_tiny,
        "phases": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            phase, left = PHASES[name], ends - time.monotonic()
            given = tiny(phase) if is_tiny else replace(GIVEN, **phase.changes)
            given, reason = applicable(name, given, result["phases"], left)
            if reason:
                result["phases"][name] = {"skipped": reason}
                print(f"{name}: skipped, {reason}", file=sys.stderr, flush=True)
            else:
                limit = min(phase.seconds * (TINY_LIMITS if is_tiny else 1), left)
                print(f"{name}: at most {limit:.0f} s", file=sys.stderr, flush=True)
                settings = {"settings": asdict(given), "load_average": load_average()}
                result["phases"][name] = settings | run_apart(name, phase.module, given, limit, Path(folder))
            result["summary"] = summary(result["phases"])
            output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def tiny(phase: Phase) -> Given:
    """Returns tiny settings of a phase; effdet has no smaller network than lite0 at 128 px."""
    given = replace(GIVEN, **{**phase.changes, **TINY})
    if phase.needs == TORCH:
        given = replace(given, model_name="efficientdet-lite0", image_size=128, network={})
    return given


def applicable(name: str, given: Given, done: Mapping[str, Any], left: float) -> tuple[Given, str]:
    """Returns the settings of a phase, and why it is skipped; empty if it is not.

    Args:
      name: of the phase.
      given: its settings.
      done: results of earlier phases.
      left: seconds for this phase and all after it.
    """
    missing = [package for package in PHASES[name].needs if importlib.util.find_spec(package) is None]
    if missing:
        return given, f"not installed: {', '.join(missing)}"
    if left < LEAST_SECONDS:
        return given, "no time is left (--total_seconds, --only)"
    if name == "largest":
        batch = largest_batch(done)
        if not batch:
            return given, "the memory of the device is known only after the phase ours, on a GPU"
        return replace(given, batch_size=batch), ""
    if name == "ours_warmed" and not done.get("ours", {}).get("odd_convolutions"):
        return given, "the phase ours has no convolution with an unusual algorithm"
    return given, ""


def largest_batch(done: Mapping[str, Any]) -> int:
    """Returns the batch that fills the device by what XLA planned for smaller ones, a multiple of 32; 0: unknown."""
    planned = {
        each["settings"]["batch_size"]: each["temporaries_gb"]
        for each in (done.get("ours", {}), done.get("ours_256", {}))
        if "temporaries_gb" in each
    }
    limit = done.get("ours", {}).get("memory_gb", {}).get("device_limit")
    if not planned or limit is None:
        return 0
    batch = max(planned)
    return int(DEVICE_SHARE * limit * batch / planned[batch]) // 32 * 32


def run_here(module: str, given: Given, output: Path) -> int:
    """Measures in this process."""
    notes = Notes(output)
    try:
        importlib.import_module(module).measured(given, notes)
    except Exception as error:  # Each framework has its own out-of-memory error.
        notes.add(failure(error))
    return int("failed" in notes.found)


def run_apart(name: str, module: str, given: Given, limit: float, folder: Path) -> dict[str, Any]:
    """Returns the results of a phase from a process of its own, as far as it came."""
    output = folder / f"{name}.json"
    command = [sys.executable, __file__, "--run", module, json.dumps(asdict(given)), f"--output={output}"]
    environment = os.environ | {
        # A phase of the same network reads what an earlier one compiled, as a continued training does.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }
    began = time.monotonic()
    # A session of its own, so that processes of a compiler end with it.
    process = subprocess.Popen(command, env=environment, stdout=sys.stderr, start_new_session=True)
    try:
        is_late = is_beyond(process, limit, name)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    found["seconds"] = time.monotonic() - began
    if is_late:
        found |= {"failed": "out of time", "message": f"It did not finish within {limit:.0f} seconds."}
    elif process.returncode and "failed" not in found:
        # SIGKILL is how a system reclaims main memory.
        why = "out of memory" if process.returncode == -signal.SIGKILL else "error"
        found |= {"failed": why, "message": f"It ended with status {process.returncode}."}
    return found


def is_beyond(process: subprocess.Popen[bytes], limit: float, name: str) -> bool:
    """Waits for a process; returns whether it still runs after `limit` seconds."""
    began = time.monotonic()
    while (seconds := time.monotonic() - began) < limit:
        try:
            process.wait(min(HEARTBEAT_SECONDS, limit - seconds))
        except subprocess.TimeoutExpired:
            print(f"{name}: {time.monotonic() - began:.0f} of {limit:.0f} s", file=sys.stderr, flush=True)
        else:
            return False
    return True


def summary(done: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the rates of the phases, and ours beside the peer's."""
    rates = {name: each["images_a_second"] for name, each in done.items() if "images_a_second" in each}
    return {
        "images_a_second": rates,
        "ours_to_peer": {name: rates["ours"] / rates[name] for name in ("peer", "peer_compiled") if name in rates}
        if "ours" in rates
        else {},
        "first_step_seconds": {
            name: each["first_step_seconds"] for name, each in done.items() if "first_step_seconds" in each
        },
        "failed": {name: each["failed"] for name, each in done.items() if "failed" in each},
        "skipped": {name: each["skipped"] for name, each in done.items() if "skipped" in each},
    }


if __name__ == "__main__":
    sys.exit(main())
