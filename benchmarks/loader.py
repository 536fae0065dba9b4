"""Benchmark of the loader on real images (BCCD, D0 at 512 px, batch 8), interleaved with decoding the same images.

google/automl's loader reaches .05 of decoding alone on two CPU cores, .035 with
randaug.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/loader.py --output=loader.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import efficientdet

from efficientdet_pipeline.benchmarking import loader
from efficientdet_pipeline.data.dataset_stats import read_shard_stats
from efficientdet_pipeline.data.image_cache import cache_in_memory
from efficientdet_pipeline.data.input_pipeline import InputConfig, build_augmenter, training_batches
from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.recipes import RECIPES

MAIN = Path(__file__).resolve().parents[1] / "main.py"
YARDSTICK = "decoding alone"
RECIPE_OF = {
    "not augmented": {"augment": False},
    "default": {},
    "randaug": {"autoaugment_policy": "randaug"},
    "mixing": RECIPES["mixing"],
    "strong": RECIPES["strong"],
}


def main() -> None:
    """Measures, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--batches", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    data = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not data:
        sys.exit("EFFICIENTDET_TEST_DATA must name the folder that contains bccd.zip.")
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"--url_dataset={data}/bccd.zip", f"--output_path={folder}/shards", f"--workspace={folder}/runs"]
        subprocess.run([sys.executable, str(MAIN), "--mode=dataset", *arguments], check=True)
        result = measured(args, tuple(map(str, sorted(Path(folder, "shards").glob("train-*")))))
    print(json.dumps(result, indent=2))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measured(args: argparse.Namespace, files: tuple[str, ...]) -> dict:
    """Returns the speed of each augmentation, and of skipping."""
    config = efficientdet.get_config("efficientdet-d0", image_size=args.image_size, num_classes=3)
    contents = read_shard_stats(files)

    def stream(**given: object) -> InputConfig:
        return InputConfig(
            files=files, batch_size=args.batch_size, max_instances=100, canvas=config.image_size, seed=1, **given
        )

    pipelines = {YARDSTICK: loader.decode_only(stream())}
    for name, given in RECIPE_OF.items():
        pipelines[name] = training_batches(stream(), build_augmenter(AugmentationOptions(**given), config))
    kept = stream(cache=cache_in_memory(files, contents.sizes))
    pipelines["default, images cached in memory"] = training_batches(
        kept, build_augmenter(AugmentationOptions(), config)
    )
    speeds = loader.measure_stages(
        pipelines, YARDSTICK, batch_size=args.batch_size, batches=args.batches, rounds=args.rounds
    )
    return {
        "speeds": {name: asdict(each) for name, each in speeds.items()},
        "records_skipped_per_second": loader.records_skipped_per_second(stream()),
        "cores": os.cpu_count(),
        "settings": vars(args),
    }


if __name__ == "__main__":
    main()
