"""Runs every benchmark and writes the results as JSON to benchmarks/results."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHMARKS = {
    "train_step.json": ["train_step.py"],
    "train_step_memory.json": ["train_step.py", "--no_yardstick"],
    "loader.json": ["loader.py"],
    "doctor.json": ["doctor.py"],
    "bccd.json": ["bccd.py"],
    "bccd_quick.json": ["bccd.py", "--num_epochs=15"],
    "bccd_defaults.json": ["bccd.py", "--config="],
    "mill.json": ["mill.py"],
    "help.json": ["help.py"],
    "compression_step.json": ["compression_step.py"],
    "compression_step_lite0.json": ["compression_step.py", "--model_name=efficientdet-lite0"],
    "compression.json": ["compression.py"],
    "compression_d0.json": ["compression.py", "--model_name=efficientdet-d0"],
    "serving.json": ["serving.py"],
    "evaluator_memory.json": ["evaluator_memory.py"],
}
NEED_DATA = {"bccd.py", "compression.py", "doctor.py", "loader.py", "mill.py", "serving.py"}


def main() -> int:
    """Runs them in sequence; returns the number of failures."""
    (HERE / "results").mkdir(exist_ok=True)
    failed = 0
    for name, (script, *options) in BENCHMARKS.items():
        if script in NEED_DATA and not os.environ.get("EFFICIENTDET_TEST_DATA"):
            print(f"{script} is skipped: EFFICIENTDET_TEST_DATA is not set.")
            continue
        print(f"== {script}", flush=True)
        command = [sys.executable, str(HERE / script), *options, f"--output={HERE / 'results' / name}"]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
