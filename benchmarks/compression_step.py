"""Benchmark of the training step with quantization-aware training, against the plain step, interleaved in one process.

Seconds are those of all processor cores together (user and system), which other programs on the machine change little.
The ranges of activations move in the first epochs (`observing`) and are fixed in the others (`fixed`).

    python3 benchmarks/compression_step.py --output=compression_step.json
    python3 benchmarks/compression_step.py --model_name=efficientdet-lite0
"""

import json
import resource
import time
from pathlib import Path

import efficientdet
from timing import median_seconds
from train_step import random_batch, step_arguments, step_of, training_model


def main() -> None:
    """Measures, prints and writes the results."""
    parser = step_arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    config = efficientdet.get_config(args.model_name, image_size=args.image_size, num_classes=args.num_classes)
    batch = random_batch(args.image_size, args.batch_size, args.num_classes)
    steps = {}
    for name, options in {"plain": {}, "observing": {"quantize": "true"}, "fixed": {"quantize": "true"}}.items():
        model = training_model(config, args.batch_size, **options)
        if name == "fixed":
            model.evaluated.is_observing = False
        steps[name] = step_of(model, batch)
    medians = median_seconds(steps, args.rounds, clock=time.process_time)
    result = {
        "processor_seconds": medians,
        "ratio": {name: seconds / medians["plain"] for name, seconds in medians.items()},
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "settings": vars(args),
    }
    print(json.dumps(result, indent=2))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
