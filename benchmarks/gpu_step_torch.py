"""The peer's half of `gpu_step.py`: the whole training step of rwightman's effdet, on PyTorch.

All its optimizations are enabled: autocast, channels_last, TF32 for what stays float32, cuDNN's kernel search,
torch.compile for the network and its losses, with fixed shapes, the fused optimizer, and timm's averaging with
`foreach`. Two rates are measured for one network: with anchor matching in the step, as in ours, and with precomputed
labels in device memory, as in effdet's own training.
"""

import contextlib
import gc
import importlib.util
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import torch
from gpu_given import (
    BOXES,
    Given,
    failure,
    finite_or_none,
    images_a_second,
    is_out_of_memory,
    process_gigabytes,
    synthetic_batch,
)

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


def measured(given: Given) -> dict[str, Any]:
    """Returns rates, time to the first step, memory and losses for one batch size."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    pixels, truth = _on_the_device(given)
    why_not = "disabled"
    if given.peer_compiler:
        try:
            return _stepped(given, pixels, truth, compiler=given.peer_compiler)
        except Exception as error:
            # torch.compile may fail for many reasons, such as a missing compiler; plain PyTorch is measured then.
            if is_out_of_memory(error):
                raise
            why_not = failure(error)["message"]
        _forget()
    return _stepped(given, pixels, truth, compiler="") | {"why_not_compiled": why_not}


def _forget() -> None:
    """Frees the memory of a failed attempt, so that the peak memory is reset."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _on_the_device(given: Given) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    images, boxes, class_ids = synthetic_batch(given)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(DEVICE, memory_format=torch.channels_last)
    truth = {
        "bbox": [torch.from_numpy(each[:BOXES]).to(DEVICE) for each in boxes],
        "cls": [torch.from_numpy(each[:BOXES]).to(DEVICE).float() for each in class_ids],
    }
    return pixels, truth


def _stepped(given: Given, pixels: torch.Tensor, truth: dict[str, Any], *, compiler: str) -> dict[str, Any]:
    bench = _bench(given)
    average = ModelEmaV3(bench, decay=0.9998)
    if compiler:
        # In place, so that the names of the weights are unchanged for the averaging.
        bench.model.compile(backend=compiler, dynamic=False)
        bench.loss_fn.compile(backend=compiler, dynamic=False)
    optimizer = torch.optim.SGD(bench.parameters(), lr=0.01, momentum=0.9, weight_decay=4e-5, fused=True)

    def step(target: dict[str, Any]) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(given):
            loss = bench(pixels, target)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bench.parameters(), 10.0)
        optimizer.step()
        average.update(bench)
        return loss.detach()

    began = time.perf_counter()
    first_loss = finite_or_none(step(truth))
    first_step_seconds = time.perf_counter() - began
    rate, last_loss = _rate(lambda: step(truth), given)
    found = {
        "images_a_second": rate,
        **_compilation(),
        "first_step_seconds": first_step_seconds,
        "memory_gb": _memory(),
        "losses": [first_loss, last_loss],
        "parameters": sum(each.numel() for each in bench.parameters()),
        "anchors": len(bench.anchors.boxes),
        "model": bench.config.name,
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "versions": {"torch": torch.__version__, "timm": timm.__version__, "effdet": effdet_version},
    }
    try:
        labels = _labels(bench, truth)
        # A bench without a labeler takes the labels from the batch.
        bench.anchor_labeler = None
        found["images_a_second_given_labels"], _ = _rate(lambda: step(labels), given)
    except Exception as error:  # Earlier measurements are kept.
        found["given_labels"] = failure(error)
    return found


def _compilation() -> dict[str, Any]:
    """Returns what torch.compile compiled: it may be disabled, or skip parts of a network, without an error.

    A skipped frame is not an error either, so the graphs are counted.
    """
    counters = torch._dynamo.utils.counters
    graphs = int(counters["stats"]["unique_graphs"])
    return {"compiled": graphs > 0, "graphs": graphs, "graph_breaks": sum(counters["graph_break"].values())}


def _bench(given: Given) -> torch.nn.Module:
    """Returns effdet's network with its matching and losses."""
    bench = effdet.create_model(
        given.peer_model or f"tf_{given.model_name.replace('-', '_')}",
        bench_task="train",
        num_classes=given.num_classes,
        pretrained=False,
        pretrained_backbone=False,
        image_size=(given.image_size, given.image_size),
        bench_labeler=True,
    )
    return bench.to(device=DEVICE, memory_format=torch.channels_last).train()


def _autocast(given: Given) -> contextlib.AbstractContextManager[Any]:
    if given.compute_dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(DEVICE, dtype=getattr(torch, given.compute_dtype))


def _labels(bench: Any, truth: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Returns the batch as from effdet's loader: the class and box of every anchor."""
    classes, boxes, positives = bench.anchor_labeler.batch_label_anchors(truth["bbox"], truth["cls"])
    labels = {"label_num_positives": positives}
    for level, (of_classes, of_boxes) in enumerate(zip(classes, boxes, strict=True)):
        labels |= {f"label_cls_{level}": of_classes, f"label_bbox_{level}": of_boxes}
    return labels


def _rate(step: Step, given: Given) -> tuple[float, float | None]:
    """Returns images per second, and the loss of the last step."""
    loss = torch.zeros(())

    def one_round() -> None:
        nonlocal loss
        for _ in range(given.steps):
            loss = step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return images_a_second(one_round, given), finite_or_none(loss)


def _memory() -> dict[str, float]:
    """Returns the peak memory of tensors, the memory reserved by PyTorch, and that of the process, in GB."""
    held = {"process_peak": process_gigabytes()}
    if DEVICE == "cuda":
        held["device_peak"] = torch.cuda.max_memory_allocated() / 1e9
        held["device_reserved"] = torch.cuda.max_memory_reserved() / 1e9
    return held
