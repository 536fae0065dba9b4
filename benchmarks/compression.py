"""What pruning, quantization-aware training and clustering cost and give: AP, size after gzip, time of a step.

One detector is trained on BCCD, then trained on with each method, and without any, from the same checkpoint.
AP is that of the exported file. Arguments that are not listed are options of all runs.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/compression.py --output=compression.json
    EFFICIENTDET_TEST_DATA=data python3 benchmarks/compression.py --model_name=efficientdet-d0 --base=runs/base
    EFFICIENTDET_TEST_DATA=data python3 benchmarks/compression.py --config=configs/small-data-backbone.config
    EFFICIENTDET_TEST_DATA=data python3 benchmarks/compression.py --image_size=128 --num_examples_per_epoch=64
"""

import argparse
import csv
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


def measured_ap(file: Path) -> float:
    """Returns the AP of an exported file on the validation images of its run."""
    pattern = str(file.parents[1] / "tfrecords" / "val-*")
    run("--mode=eval", f"--saved_model_dir={file}", f"--val_file_pattern={pattern}", f"--eval_name={file.stem}")
    return float(json.loads(newest_metrics(file).read_text(encoding="utf-8"))["AP"])


def newest_metrics(file: Path) -> Path:
    """Returns the metrics that an evaluation of a file has just written, beside its run or in it."""
    run_folder = file.parents[1]
    found = [*run_folder.rglob("metrics*.json")]
    return max(found, key=lambda path: path.stat().st_mtime)


def step_seconds(folder: Path) -> float:
    """Returns the seconds of a step, the median of the two fastest epochs of a run."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: float(row[name]) for name in ("epoch", "step", "seconds")} for row in csv.DictReader(file)]
    seconds = [row["seconds"] * row["epoch"] / row["step"] for row in rows]
    return statistics.median(sorted(seconds)[:2])


def main() -> int:
    """Trains, exports and measures; prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name", default="efficientdet-lite0")
    parser.add_argument(
        "--config", type=Path, default=MAIN.parent / "configs" / "small-data-scratch.config", help="options of all runs"
    )
    parser.add_argument("--num_epochs", type=int, default=30, help="of the detector that everything starts from")
    parser.add_argument("--fine_tune_epochs", type=int, default=10)
    parser.add_argument("--base", default="", help="run that is trained already, by --mode=train or traineval")
    parser.add_argument("--workspace", default="")
    parser.add_argument("--output", default="")
    args, further = parser.parse_known_args()
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        parser.error("EFFICIENTDET_TEST_DATA must name the folder that holds bccd.zip")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(args.workspace or folder)
        given = [f"@{args.config.resolve()}", "--mode=traineval", f"--url_dataset={data}/bccd.zip",
                 f"--workspace={workspace}", "--nodoctor", f"--model_name={args.model_name}", *further]  # fmt: skip
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
                "step_seconds": step_seconds(place),
            }
            for precision, pattern in FILES.items():
                file = place / "export" / pattern.format(args.model_name)
                if file.is_file():
                    figures[name] |= {f"{precision}_gzip": gzip_bytes(file), f"{precision}_AP": measured_ap(file)}
    result = {"model": args.model_name, "methods": figures}
    print(json.dumps(result, indent=2))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
