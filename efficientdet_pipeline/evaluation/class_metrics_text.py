"""Metrics by class as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfrmod.counted import counted

_MAX_UNDEFINED = 10
"""Classes up to which undefined ones are listed, too."""


def format_class_metrics(metrics: Mapping[str, Any], numbers: Sequence[str], columns: Mapping[str, str]) -> str:
    """Returns the content of metrics.json as text; a dash where undefined. Many undefined classes are not listed.

    Args:
      metrics: of metrics.json.
      numbers: names of the metrics over all classes.
      columns: title → name of the metric by class.
    """
    head = "   ".join(f"{name} {_number(metrics[name])}" for name in numbers)
    tables = {title: metrics[name] for title, name in columns.items()}
    first = metrics["per_class"]
    names = [name for name, value in first.items() if value >= 0 or len(first) <= _MAX_UNDEFINED]
    width = max(len("class"), *map(len, names))
    lines = [head, "", "  ".join([f"{'class':<{width}}", *(f"{title:>5}" for title in tables)])]
    for name in names:
        values = (f"{_number(table[name]):>{len(title)}}" for title, table in tables.items())
        lines.append("  ".join([f"{name:<{width}}", *values]))
    left = len(first) - len(names)
    return "\n".join([*lines, *([f"Not listed: {counted(left, 'class')} without a value."] if left else [])])


def _number(value: float) -> str:
    return f"{value:5.3f}" if value >= 0 else f"{'-':>5}"
