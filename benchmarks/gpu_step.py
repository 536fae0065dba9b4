"""Benchmark of the whole training step on an accelerator with JAX, against rwightman's effdet on PyTorch.

Ours: D0, bfloat16, anchor matching on the device, both losses, clipping, momentum and weight averaging. The peer: the
same network of `effdet` (timm) with its own matching and losses, autocast to bfloat16, channels_last, torch.compile,
clipping, momentum, timm's averaging. Both use the same batch in device memory; a round is some steps and a
synchronization, and the median of the rounds is reported. The peer's matching is a slow Python loop, so its rate with
precomputed labels is reported as well.

Each measurement runs in its own process with all the memory, so that the halves do not affect each other. Batch sizes
increase until memory is exhausted. Failures are recorded, and the sweep continues. NVIDIA's own EfficientDet-D0 for
TensorFlow 2 trains 397 images per second on an A100.

Needs keras, jax, jaxtyping and numpy, and for the peer torch, torchvision, timm, effdet and omegaconf; no TensorFlow.

    python3 benchmarks/gpu_step.py --output=gpu_step.json
    python3 benchmarks/gpu_step.py --image_size=128 --batch_sizes=1,2 --rounds=2 --steps=1     # tiny, on a CPU
"""

import argparse
import importlib
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from gpu_given import Given, failure, is_out_of_memory, load_average

PAGES = {"ours": "gpu_step_jax", "peer": "gpu_step_torch"}
PEER_NEEDS = ("torch", "torchvision", "timm", "effdet", "omegaconf")


def main() -> int:
    """Measures a sweep of batch sizes, prints and writes the results; returns 1 if no batch size could be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name", default="efficientdet-d0")
    parser.add_argument("--peer_model", default="", help="a network of effdet; default: tf_ and model_name")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--num_classes", type=int, default=90)
    parser.add_argument("--batch_sizes", default="32,64,128,256,512", help="tried in order until memory is exhausted")
    parser.add_argument("--precision", default="mixed_bfloat16", choices=["mixed_bfloat16", "float32"])
    parser.add_argument(
        "--rounds", type=int, default=8, help="rounds of which the median is reported, after three warm-up rounds"
    )
    parser.add_argument(
        "--steps", type=int, default=3, help="steps per round, between two synchronizations with the device"
    )
    parser.add_argument(
        "--limit_seconds", type=float, default=400, help="limit of one measurement, compilation included"
    )
    parser.add_argument("--no_peer", action="store_true", help="leave effdet out")
    parser.add_argument("--peer_compiler", default="inductor", help="backend of torch.compile; empty: plain PyTorch")
    parser.add_argument(
        "--half", choices=sorted(PAGES), help="measure only this half, in this process, at the first batch size"
    )
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    batches = sorted({int(number) for number in args.batch_sizes.split(",")})
    if args.half:
        _write(outcome := measured_here(args.half, given_by(args, batches[0])), args.output)
        print(json.dumps(outcome, indent=2))
        return int("failed" in outcome)
    result: dict[str, Any] = {"settings": vars(args), "python": platform.python_version(), "sweep": []}
    halves = ["ours", *_peer(args, result)]
    for batch in batches:
        row: dict[str, Any] = {"batch_size": batch, "load_average": load_average()}
        result["sweep"].append(row)
        for half in tuple(halves):
            row[half] = measured_apart(half, given_by(args, batch), args.limit_seconds)
            print(json.dumps({"batch_size": batch, half: row[half]}), flush=True)
            if row[half].get("failed") in {"out of memory", "out of time"}:
                halves.remove(half)  # A larger batch needs more memory and time.
            _write(result | summary(result["sweep"]), args.output)
        if not halves:
            break
    print(json.dumps(summary(result["sweep"]), indent=2))
    return int(not any("images_a_second" in row.get(half, {}) for row in result["sweep"] for half in PAGES))


def given_by(args: argparse.Namespace, batch: int) -> Given:
    """Returns the settings of one measurement from the command line."""
    flags = {field.name: getattr(args, field.name) for field in fields(Given) if field.name in args}
    return Given(**flags, batch_size=batch)


def measured_here(half: str, given: Given) -> dict[str, Any]:
    """Returns the results of a half in this process, or its failure."""
    try:
        return importlib.import_module(PAGES[half]).measured(given)
    except Exception as error:  # Each framework has its own out-of-memory error.
        return failure(error)


def measured_apart(half: str, given: Given, limit_seconds: float) -> dict[str, Any]:
    """Returns the results of a half in a separate process, or its failure."""
    with tempfile.TemporaryDirectory() as folder:
        output, said = Path(folder) / "outcome.json", Path(folder) / "said.txt"
        flags = [f"--{name}={value}" for name, value in asdict(given).items() if name != "batch_size"]
        flags += [f"--half={half}", f"--batch_sizes={given.batch_size}", f"--output={output}"]
        try:
            # To a file, not a pipe: subprocesses of a compiler may keep a pipe open after the process has exited.
            with said.open("w", encoding="utf-8") as file:
                status = subprocess.run(
                    [sys.executable, __file__, *flags], stdout=file, stderr=file, timeout=limit_seconds, check=False
                ).returncode
        except subprocess.TimeoutExpired:
            return {"failed": "out of time", "message": f"It did not finish within {limit_seconds:g} seconds."}
        if output.exists():
            return json.loads(output.read_text(encoding="utf-8"))
        last = said.read_text(encoding="utf-8", errors="replace")[-2000:]
        # A killed process prints nothing: SIGKILL is how a system reclaims main memory.
        why = "out of memory" if is_out_of_memory(last) or status == -9 else "error"
        return {"failed": why, "message": f"It exited with status {status}. Last output:  {' '.join(last.split())}"}


def summary(sweep: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the best rates and largest batches of both halves, and their ratio, per batch size and at the best."""
    rates = {
        "ours": _by_batch(sweep, "ours", "images_a_second"),
        "peer": _by_batch(sweep, "peer", "images_a_second"),
        "peer_given_labels": _by_batch(sweep, "peer", "images_a_second_given_labels"),
    }
    best = {name: max(of.values(), default=None) for name, of in rates.items()}
    peers = ("peer", "peer_given_labels")
    return {
        "best_images_a_second": best,
        "largest_batch": {name: max(of, default=None) for name, of in rates.items() if name in PAGES},
        "ratio": {peer: best["ours"] / best[peer] if best["ours"] and best[peer] else None for peer in peers},
        "ratio_by_batch": {
            peer: {batch: rates["ours"][batch] / rate for batch, rate in rates[peer].items() if batch in rates["ours"]}
            for peer in peers
        },
        "peer_compiled": sorted({row["peer"]["compiled"] for row in sweep if "compiled" in row.get("peer", {})}),
    }


def _by_batch(sweep: list[dict[str, Any]], half: str, key: str) -> dict[int, float]:
    return {row["batch_size"]: row[half][key] for row in sweep if key in row.get(half, {})}


def _peer(args: argparse.Namespace, result: dict[str, Any]) -> list[str]:
    """Returns the peer if it is requested and installed; otherwise records the reason in the result."""
    missing = [name for name in PEER_NEEDS if importlib.util.find_spec(name) is None]
    if args.no_peer or missing:
        result["no_peer"] = "disabled" if args.no_peer else f"missing here: {', '.join(missing)}"
        print(f"Without the peer: {result['no_peer']}.", flush=True)
        return []
    return ["peer"]


def _write(result: dict[str, Any], output: str) -> None:
    if output:
        Path(output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
