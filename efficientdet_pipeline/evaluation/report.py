"""Metrics of an evaluation as a table and as metrics.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efficientdet_pipeline.evaluation.metrics import INTERVAL, VOC_NAMES
from tfrmod import fileio

ROWS = (
    ("AP", "AP50", "AP75"),
    ("APs", "APm", "APl"),
    ("ARmax1", "ARmax10", "ARmax100"),
    ("ARs", "ARm", "ARl"),
)


def write_metrics(path: str | Path, metrics: Mapping[str, Any], epoch: float) -> None:
    """Writes metrics.json atomically.

    Args:
      metrics: from `coco_metrics`; -1 means undefined, as in COCO.
      epoch: finished epochs of the evaluated weights.
    """
    text = json.dumps({"epoch": epoch, **metrics}, indent=2, ensure_ascii=False)
    fileio.write_file(Path(path), f"{text}\n")


def format_table(metrics: Mapping[str, Any]) -> str:
    """Returns the metrics as lines of text; undefined ones as a dash.

    >>> print(format_table(metrics))
    AP       0.279   AP50     0.562   AP75     0.241
    APs      0.081   APm      0.275   APl      0.330
    ARmax1   0.184   ARmax10  0.371   ARmax100 0.402
    ARs      0.110   ARm      0.398   ARl      0.455

    class          AP   AP50
    Platelets   0.101  0.310
    RBC         0.412  0.690
    """
    lines = ["   ".join(f"{name:<8} {_number(metrics[name])}" for name in row) for row in ROWS]
    if all(name in metrics for name in VOC_NAMES):
        lines.append("   ".join(f"{name} {_number(metrics[name])}" for name in VOC_NAMES))
    low, high = metrics.get(f"AP{INTERVAL}") or (-1.0, -1.0)
    if low >= 0:
        lines.append(f"AP {low:.3f} to {high:.3f} with 95 % confidence (bootstrap over the images)")
    per_class = metrics["per_class"]
    if per_class:
        width = max(len("class"), *map(len, per_class))
        lines += ["", f"{'class':<{width}}  {'AP':>5}  {'AP50':>5}"]
        lines += [
            f"{name:<{width}}  {_number(value)}  {_number(metrics['per_class_AP50'][name])}"
            for name, value in per_class.items()
        ]
    return "\n".join(line.rstrip() for line in lines)


def format_line(metrics: Mapping[str, Any]) -> str:
    """Returns the two main metrics.

    >>> format_line(metrics)
    'AP 0.279, AP50 0.562'
    """
    return ", ".join(f"{name} {_number(metrics[name]).strip()}" for name in ("AP", "AP50"))


def _number(value: float) -> str:
    return f"{value:5.3f}" if value >= 0 else f"{'-':>5}"
