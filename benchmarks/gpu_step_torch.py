"""The peer's step for `gpu_suite.py`: the whole training step of rwightman's effdet, on PyTorch.

All its optimizations are enabled: autocast, channels_last, TF32 for what stays float32, cuDNN's kernel search, the
fused optimizer, timm's averaging with `foreach`, and in the compiled phase torch.compile for the network and its
losses, with fixed shapes. Anchors are matched once, before the steps, and timed by themselves: effdet does it in its
data loader.
"""

import contextlib
import importlib.util
import os
import sys
import time
import types
from collections.abc import Callable
from typing import Any

# A compilation uses all cores.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(os.cpu_count() or 1))

import torch
from gpu_given import BOXES, Given, Notes, finite_or_none, images_a_second, process_gigabytes, synthetic_batch

if importlib.util.find_spec("pycocotools") is None:
    # effdet imports it for the evaluation, which is not part of a step.
    for name, wanted in {"pycocotools.cocoeval": "COCOeval", "pycocotools.coco": "COCO"}.items():
        sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[name], wanted, None)
    sys.modules["pycocotools"] = types.ModuleType("pycocotools")

import effdet
import timm
import torch._dynamo
from effdet.version import __version__ as effdet_version
from timm.utils import ModelEmaV3

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Step = Callable[[], torch.Tensor]


def measured(given: Given, notes: Notes) -> None:
    """Notes rate, time to the first step, memory and losses for one batch size."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    notes.add(
        {
            "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
            "versions": {"torch": torch.__version__, "timm": timm.__version__, "effdet": effdet_version},
        }
    )
    bench = _bench(given)
    notes.add(
        {
            "model": bench.config.name,
            "parameters": sum(each.numel() for each in bench.parameters()),
            "anchors": len(bench.anchors.boxes),
        }
    )
    images, boxes, class_ids = synthetic_batch(given)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(DEVICE, memory_format=torch.channels_last)
    began = time.perf_counter()
    labels = _labels(bench, boxes, class_ids)
    notes.add({"labelling_seconds_a_batch": time.perf_counter() - began})
    step = _step(given, bench, pixels, labels)
    notes.say("compiling, which takes minutes …" if given.compiler else "first step, which chooses kernels …")
    began = time.perf_counter()
    first_loss = finite_or_none(step())
    notes.add({"first_step_seconds": time.perf_counter() - began, "first_loss": first_loss, **_compilation()})
    loss = torch.zeros(())

    def one_round() -> None:
        nonlocal loss
        for _ in range(given.steps):
            loss = step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    rate = images_a_second(one_round, given)
    notes.add({"images_a_second": rate, "step_milliseconds": 1000 * given.batch_size / rate})
    notes.add({"last_loss": finite_or_none(loss), "memory_gb": _memory()})


def _bench(given: Given) -> torch.nn.Module:
    """Returns effdet's network with its matching and losses, on the CPU until the labels are made."""
    return effdet.create_model(
        f"tf_{given.model_name.replace('-', '_')}",
        bench_task="train",
        num_classes=given.num_classes,
        pretrained=False,
        pretrained_backbone=False,
        image_size=(given.image_size, given.image_size),
        bench_labeler=True,
    ).train()


def _labels(bench: Any, boxes: Any, class_ids: Any) -> dict[str, torch.Tensor]:
    """Returns the batch as from effdet's loader, the class and box of every anchor, and removes the matching."""
    lists = (
        [torch.from_numpy(each[:BOXES]) for each in boxes],
        [torch.from_numpy(each[:BOXES]).float() for each in class_ids],
    )
    classes, targets, positives = bench.anchor_labeler.batch_label_anchors(*lists)
    labels = {"label_num_positives": positives}
    for level, (of_classes, of_boxes) in enumerate(zip(classes, targets, strict=True)):
        labels |= {f"label_cls_{level}": of_classes, f"label_bbox_{level}": of_boxes}
    # A bench without a labeler takes the labels from the batch.
    bench.anchor_labeler = None
    return {name: each.to(DEVICE) for name, each in labels.items()}


def _step(given: Given, bench: Any, pixels: torch.Tensor, labels: dict[str, torch.Tensor]) -> Step:
    bench.to(device=DEVICE, memory_format=torch.channels_last)
    average = ModelEmaV3(bench, decay=0.9998)
    if given.compiler:
        # In place, so that the names of the weights are unchanged for the averaging.
        bench.model.compile(backend=given.compiler, dynamic=False)
        bench.loss_fn.compile(backend=given.compiler, dynamic=False)
    optimizer = torch.optim.SGD(bench.parameters(), lr=0.01, momentum=0.9, weight_decay=4e-5, fused=True)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(given):
            loss = bench(pixels, labels)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bench.parameters(), 10.0)
        optimizer.step()
        average.update(bench)
        return loss.detach()

    return step


def _compilation() -> dict[str, Any]:
    """Returns what torch.compile compiled: it may skip parts of a network without an error."""
    counters = torch._dynamo.utils.counters
    graphs = int(counters["stats"]["unique_graphs"])
    return {"compiled": graphs > 0, "graphs": graphs, "graph_breaks": sum(counters["graph_break"].values())}


def _autocast(given: Given) -> contextlib.AbstractContextManager[Any]:
    if given.compute_dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(DEVICE, dtype=getattr(torch, given.compute_dtype))


def _memory() -> dict[str, float]:
    """Returns the peak memory of tensors, the memory reserved by PyTorch, and that of the process, in GB."""
    held = {"process_peak": process_gigabytes()}
    if DEVICE == "cuda":
        held["device_peak"] = torch.cuda.max_memory_allocated() / 1e9
        held["device_reserved"] = torch.cuda.max_memory_reserved() / 1e9
    return held
