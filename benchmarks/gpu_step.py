"""Times the whole training step on an accelerator, on JAX, and beside it rwightman's effdet on PyTorch.

Ours: D0, bfloat16, anchors matched on the device, both losses, clipping, momentum and the average of the weights. The
peer: the same network of `effdet` (timm), its own matching and losses, AMP in bfloat16, channels_last, torch.compile,
clipping, momentum, timm's average. Both take the same batch, which lies on the device before the clock starts, in turns
in one process. NVIDIA's own EfficientDet-D0 for TensorFlow 2 trains 397 images a second on an A100.

Needs keras, jax and numpy, and for the peer torch, timm and effdet; no TensorFlow.

    python3 benchmarks/gpu_step.py --output=gpu_step.json
    python3 benchmarks/gpu_step.py --image_size=64 --batch_sizes=2 --rounds=2     # tiny, on a CPU
"""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(KERAS_BACKEND="jax")
# The peer shares the device: JAX must not take all of its memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# A machine with a GPU may have the repository, but not the package with all that it needs.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "third_party" / "automl"))

import efficientdet
import jax
import keras
import numpy as np
from efficientdet.types import GroundTruth
from timing import median_seconds

from efficientdet_pipeline.options.train import TrainOptions
from efficientdet_pipeline.training.building import build_training_model

NUM_CLASSES = 90
BOXES = 20
PADDED_BOXES = 100
Step = Callable[[], None]


def synthetic_batch(batch: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns images (b, h, w, 3) float32, boxes (b, n, 4) in canvas pixels and class ids (b, n), padded with -1."""
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, size, size, 3)).astype("float32")
    corners = random.uniform(0, size * 0.7, (batch, PADDED_BOXES, 2))
    sides = random.uniform(size * 0.03, size * 0.3, (batch, PADDED_BOXES, 2))
    boxes = np.concatenate([corners, corners + sides], -1).astype("float32")
    class_ids = random.integers(1, NUM_CLASSES + 1, (batch, PADDED_BOXES)).astype("int32")
    boxes[:, BOXES:], class_ids[:, BOXES:] = -1, -1
    return images, boxes, class_ids


def our_step(name: str, size: int, batch: int, precision: str) -> Step:
    """Returns one whole training step of ours; it waits until the device is done."""
    keras.backend.clear_session()
    keras.config.set_dtype_policy(precision)
    config = efficientdet.get_config(name, image_size=size, num_classes=NUM_CLASSES)
    options = TrainOptions(url_dataset="none", batch_size=batch)
    model = build_training_model(efficientdet.build_model(config), config, options, steps_per_epoch=1000)
    images, boxes, class_ids = jax.device_put(synthetic_batch(batch, size))
    step = jax.jit(model.train_step, donate_argnums=0)
    # Copies: what is donated may not be the variables' own.
    state: Any = jax.tree.map(jax.numpy.copy, [[variable.value for variable in group] for group in model._variables()])

    def run() -> None:
        nonlocal state
        logs, state = step(tuple(state), (images, GroundTruth(boxes, class_ids)))
        jax.block_until_ready((logs, state))

    return run


def peer_step(name: str, size: int, batch: int) -> Step:
    """Returns one whole training step of effdet; it waits until the device is done."""
    import effdet
    import torch
    from timm.utils import ModelEmaV3

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bench = effdet.create_model(
        f"tf_{name.replace('-', '_')}",
        bench_task="train",
        num_classes=NUM_CLASSES,
        pretrained=False,
        pretrained_backbone=False,
        image_size=(size, size),
        bench_labeler=True,
    ).to(device=device, memory_format=torch.channels_last)
    average = ModelEmaV3(bench, decay=0.9998)
    bench.model = torch.compile(bench.model)
    optimizer = torch.optim.SGD(bench.parameters(), lr=0.01, momentum=0.9, weight_decay=4e-5)
    images, boxes, class_ids = synthetic_batch(batch, size)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(device=device, memory_format=torch.channels_last)
    truth = {
        "bbox": [torch.from_numpy(each[:BOXES]).to(device) for each in boxes],
        "cls": [torch.from_numpy(each[:BOXES]).to(device).float() for each in class_ids],
    }

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = bench(pixels, truth)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bench.parameters(), 10.0)
        optimizer.step()
        average.update(bench)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def peak_gigabytes() -> dict[str, float]:
    """Returns the most device memory that each framework has held so far."""
    peaks = {}
    held = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in held:
        peaks["ours"] = held["peak_bytes_in_use"] / 1e9
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peaks["peer"] = torch.cuda.max_memory_reserved() / 1e9
    return peaks


def main() -> int:
    """Measures a sweep of batches, prints and writes the figures; a batch that does not fit ends its sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name", default="efficientdet-d0")
    parser.add_argument("--image_size", type=int, default=512)
    parser.add_argument("--batch_sizes", default="32,64,128,256,512")
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--no_peer", action="store_true", help="leave effdet out")
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    has_peer = not args.no_peer and importlib.util.find_spec("effdet") is not None
    result: dict[str, Any] = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "settings": vars(args)}
    result["sweep"] = []
    fits = {"ours": True, "peer": has_peer}
    for batch in map(int, args.batch_sizes.split(",")):
        row: dict[str, Any] = {"batch_size": batch}
        steps: dict[str, Step] = {}
        for who in [who for who, still in fits.items() if still]:
            try:
                step = (
                    our_step(args.model_name, args.image_size, batch, args.precision)
                    if who == "ours"
                    else peer_step(args.model_name, args.image_size, batch)
                )
                step()
                steps[who] = step
            except Exception as error:  # Each framework has a class of its own for memory that is not there.
                fits[who] = False
                row[f"{who}_does_not_fit"] = f"{type(error).__name__}: {str(error)[:200]}"
        seconds = median_seconds(steps, args.rounds)
        rates = {who: batch / taken for who, taken in seconds.items()}
        row |= {"images_a_second": rates, "peak_gb": peak_gigabytes()}
        result["sweep"].append(row)
        print(json.dumps(row), flush=True)
        if args.output:
            Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        steps.clear()
        if not any(fits.values()):
            break
    best = {
        who: max((row["images_a_second"].get(who, 0.0) for row in result["sweep"]), default=0.0)
        for who in ("ours", "peer")
    }
    result["best_images_a_second"] = best
    result["ratio"] = best["ours"] / best["peer"] if best["peer"] else None
    print(json.dumps({"device": result["device"], "best": best, "ratio": result["ratio"]}, indent=2))
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
