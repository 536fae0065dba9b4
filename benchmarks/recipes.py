"""What a training's options give on small data: the rows of docs/recipes.md, one training after the other.

A plan is a list of rows in JSON, {"data": "chess", "name": "auto", "seed": 1, "options": ["--recipe=auto"]}; the result
is the same list with AP, time and recipe. A row that has a result is not run again, and the plan is read again before
each row.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/recipes.py plan.json --output=rows.json --work=/tmp/rows --clones=git

benchmarks/recipe_data.py makes the data. Every row trains EfficientDet-lite0 for 15 epochs with --mode=traineval unless
its options say otherwise; nothing is exported. The AP of a row is that of its best evaluation.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from recipe_data import write_zip

MAIN = Path(__file__).resolve().parents[1] / "main.py"
WITHOUT_EXPORT = """
import sys
from efficientdet_pipeline.training import finalize
finalize.finalize_run = lambda *_, **__: None
from efficientdet_pipeline.cli import main
sys.exit(main(sys.argv[1:]))
"""
KEPT = ("data", "name", "seed", "options")


def main() -> int:
    """Runs the rows of the plan that have no result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for shards and runs")
    parser.add_argument("--clones", type=Path, default=Path("clones"))
    args = parser.parse_args()
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        sys.exit("EFFICIENTDET_TEST_DATA must name the folder that holds the zips.")
    args.work.mkdir(parents=True, exist_ok=True)
    while (row := _next(args.plan, args.output)) is not None:
        shards = _shards(row["data"], Path(data).resolve(), args.clones.resolve(), args.work.resolve())
        row |= _train(row, shards, args.work.resolve())
        print(json.dumps(row), flush=True)
        rows = [*_read(args.output), row]
        written = args.output.with_suffix(".part")
        written.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        written.replace(args.output)
    return 0


def _read(path: Path) -> list[dict[str, object]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _next(plan: Path, output: Path) -> dict | None:
    done = [tuple(row[name] for name in KEPT[:3]) for row in _read(output)]
    for planned in _read(plan):
        row = {"seed": 1, **planned}
        if tuple(row[name] for name in KEPT[:3]) not in done:
            return row
    return None


def _shards(name: str, data: Path, clones: Path, work: Path) -> Path:
    """Returns the folder of the shards of a set, converted once."""
    folder = work / "shards" / name
    if not (folder / "DONE").exists():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.zip"
        write_zip(name, data, clones, path)
        subprocess.run(
            [
                sys.executable,
                str(MAIN),
                "--mode=dataset",
                f"--url_dataset={path}",
                "--train_set=train",
                "--val_set=val",
                f"--output_path={folder / 'tfrecords'}",
                f"--workspace={work / 'runs'}",
                f"--run_name=shards-{name}",
                f"--cache_dir={work / 'cache'}",
            ],
            check=True,
        )
        (folder / "DONE").touch()
    return folder / "tfrecords"


def _train(row: dict, shards: Path, work: Path) -> dict[str, object]:
    """Returns what a training gave: AP of the last evaluation, its best and all of them, and its time."""
    run = f"{row['data']}-{row['name']}-{row['seed']}"
    options = [
        "--mode=traineval",
        f"--train_file_pattern={shards}/train-*",
        f"--val_file_pattern={shards}/val-*",
        "--model_name=efficientdet-lite0",
        "--cache=memory",
        "--num_epochs=15",
        f"--seed={row['seed']}",
        f"--workspace={work / 'runs'}",
        f"--run_name={run}",
        f"--cache_dir={work / 'cache'}",
        "--overwrite",
        "--nodoctor",
        "--noanalysis",
    ]
    began, cpu = time.monotonic(), os.times()
    with open(work / "runs" / f"{run}.log", "w", encoding="utf-8") as log:
        code = subprocess.run(
            [sys.executable, "-c", WITHOUT_EXPORT, *options, *row["options"]],
            check=False,
            cwd=MAIN.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
        ).returncode
    after = os.times()
    found: dict[str, object] = {
        "code": code,
        "minutes": round((time.monotonic() - began) / 60, 2),
        "cpu_minutes": round(
            (after.children_user + after.children_system - cpu.children_user - cpu.children_system) / 60, 2
        ),
    }
    results = work / "runs" / run / "results.csv"
    if code or not results.exists():
        return found
    with open(results, encoding="utf-8") as opened:
        evaluated = [each for each in csv.DictReader(opened) if each.get("AP") not in ("", None)]
    curve = [(int(each["epoch"]), round(float(each["AP"]), 4), round(float(each["AP50"]), 4)) for each in evaluated]
    recipe = json.loads((work / "runs" / run / "metadata.json").read_text(encoding="utf-8")).get("recipe")
    best = max(curve, key=lambda each: each[1])
    found |= {"AP": best[1], "AP50": best[2], "best_epoch": best[0], "curve": curve}
    if recipe:
        found["recipe"] = {each["option"]: each["value"] for each in recipe}
    return found


if __name__ == "__main__":
    sys.exit(main())
