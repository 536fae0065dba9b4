"""Benchmark of a complete run on real images: BCCD over local HTTP, D0 at 256 px from scratch.

google/automl, trained on the same split, reaches AP .279 and AP50 .562 with its last checkpoint after 774 s of training
on two CPU cores, and AP .309 with a jitter of 0.7 to 1.4; Platelets stay at 0 in both.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/bccd.py --output=bccd.json
    EFFICIENTDET_TEST_DATA=data python3 benchmarks/bccd.py --config= --num_epochs=30     # without the recipe
"""

import argparse
import functools
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / "main.py"
RECIPE = MAIN.parent / "configs" / "small-data-scratch.config"


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: the console belongs to the program."""


def main() -> int:
    """Serves the zip, runs the program, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(RECIPE), help="options file; empty for the defaults")
    parser.add_argument("--num_epochs", type=int, default=30)
    parser.add_argument("--workspace", default="")
    parser.add_argument("--output", default="")
    args, more = parser.parse_known_args()
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        sys.exit("EFFICIENTDET_TEST_DATA must name the folder that contains bccd.zip.")
    handler = functools.partial(_QuietHandler, directory=data)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(args.workspace or folder)
        options = [
            "--model_name=efficientdet-d0",
            "--image_size=256",
            "--pretrained_ckpt=none",
            "--batch_size=8",
            f"--num_epochs={args.num_epochs}",
            "--map_freq=10",
            "--run_name=bccd",
            *more,
        ]
        command = [
            sys.executable,
            str(MAIN),
            *([f"@{args.config}"] if args.config else []),
            f"--url_dataset=http://127.0.0.1:{server.server_port}/bccd.zip",
            f"--workspace={workspace}",
            f"--cache_dir={folder}/cache",
            *options,
        ]
        began = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        seconds = time.monotonic() - began
        if code:
            return code
        metrics = json.loads((workspace / "bccd" / "metrics.json").read_text(encoding="utf-8"))
    server.shutdown()
    config = [f"@configs/{Path(args.config).name}"] if args.config else []
    result = {"wall_seconds": seconds, "last": metrics["last"], "best": metrics, "options": config + options}
    print(json.dumps({"wall_seconds": seconds, "last": metrics["last"]}, indent=2))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
