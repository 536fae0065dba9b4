"""Benchmark of `python3 main.py --help`, which must not load TensorFlow."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / "main.py"


def main() -> None:
    """Measures, prints and writes the median of ten runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run([sys.executable, str(MAIN), "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    result = {"median_seconds": statistics.median(seconds)}
    print(json.dumps(result))
    if args.output:
        Path(args.output).write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
