"""What pruning, quantization-aware training and clustering cost and give: AP, size after gzip, time of a step.

One detector is trained on BCCD, then trained on with each method, and without any, from the same checkpoint.
AP is that of the exported file.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/compression.py --output=compression.json
    EFFICIENTDET_TEST_DATA=data python3 benchmarks/compression.py --model_name=efficientdet-d0 --base=runs/base
    EFFICIENTDET_TEST_DATA=data python3 benchmarks/compression.py --config=configs/small-data-backbone.config
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / "main.py"
METHODS = {
    "none": [],
    "prune": ["--prune=0.5"],
    "quantize": ["--quantize"],
    "cluster": ["--cluster=16"],
}
FILES = {"float32": "{}.tflite", "int8": "{}_int8.tflite"}


def run(*arguments: str) -> None:
    """Runs the program; its failure is that of the benchmark."""
    subprocess.run([sys.executable, str(MAIN), *arguments], check=True)


def gzip_bytes(path: Path) -> int:
    """Returns the size of a file after gzip."""
    return len(gzip.compress(path.read_bytes(), 9))


def measured_ap(file: Path, base: Path) -> float:
    """Returns the AP of an exported file on the validation images of a run."""
    pattern = str(base / "tfrecords" / "val-*")
    run("--mode=eval", f"--saved_model_dir={file}", f"--val_file_pattern={pattern}", f"--eval_name={file.stem}")
    return float(json.loads(newest_metrics(file).read_text(encoding="utf-8"))["AP"])


def newest_metrics(file: Path) -> Path:
    """Returns the metrics that an evaluation of a file has just written, beside its run or in it."""
    run_folder = file.parents[1]
    found = [*run_folder.rglob("metrics*.json")]
    return max(found, key=lambda path: path.stat().st_mtime)


def step_seconds(folder: Path, steps: int) -> float:
    """Returns the seconds of a step in the fastest epoch of a run."""
    rows = (folder / "results.csv").read_text(encoding="utf-8").splitlines()
    place = rows[0].split(",").index("seconds")
    return statistics.median(sorted(float(row.split(",")[place]) for row in rows[1:])[:2]) / steps


def main() -> int:
    """Trains, exports and measures; prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name", default="efficientdet-lite0")
    parser.add_argument(
        "--config", type=Path, default=MAIN.parent / "configs" / "small-data-scratch.config", help="options of all runs"
    )
    parser.add_argument("--num_epochs", type=int, default=30, help="of the detector that everything starts from")
    parser.add_argument("--fine_tune_epochs", type=int, default=10)
    parser.add_argument("--base", default="", help="run that is trained already")
    parser.add_argument("--workspace", default="")
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        sys.exit("EFFICIENTDET_TEST_DATA must name the folder that holds bccd.zip.")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(args.workspace or folder)
        given = [f"@{args.config.resolve()}", f"--url_dataset={data}/bccd.zip", f"--workspace={workspace}",
                 "--nodoctor", f"--model_name={args.model_name}"]  # fmt: skip
        base = Path(args.base or workspace / "base")
        if not args.base:
            run(*given, "--run_name=base", f"--num_epochs={args.num_epochs}", "--formats=tflite")
        figures: dict[str, dict[str, float]] = {}
        for name, options in METHODS.items():
            fine_tune = [f"--num_epochs={args.fine_tune_epochs}", "--learning_rate=0.008", f"--pretrained_ckpt={base}",
                         "--backbone_ckpt=", "--freeze_backbone_epochs=0", "--max_ap_drop=1"]  # fmt: skip
            formats = "--formats=tflite,tflite_int8" if name in ("none", "quantize") else "--formats=tflite"
            run(*given, f"--run_name={name}", *fine_tune, *options, formats)
            place = workspace / name
            metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
            figures[name] = {
                "AP": metrics["AP"],
                "checkpoint_gzip": gzip_bytes(place / "checkpoints" / "best" / "model.weights.h5"),
                "step_seconds": step_seconds(place, max(1, 288 // 8)),
            }
            for precision, pattern in FILES.items():
                file = place / "export" / pattern.format(args.model_name)
                if file.is_file():
                    figures[name] |= {f"{precision}_gzip": gzip_bytes(file), f"{precision}_AP": measured_ap(file, base)}
    result = {"model": args.model_name, "methods": figures}
    print(json.dumps(result, indent=2))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
