"""Report of a dataset check, as text and as JSON."""

import dataclasses
import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.doctor.fix import FixedDataset
from efficientdet_pipeline.doctor.issue import Issue, Severity, worst_severity
from tfrmod import fileio
from tfrmod.counted import counted

VERSION = 1
_WIDTH = 100
_NAMED = 3
"""Files that the text report lists per issue."""
_VERDICTS = {Severity.NOTE: "clean", Severity.WARNING: "warnings", Severity.ERROR: "errors"}


def render_text(stats: DatasetStats, plan: Plan, issues: Sequence[Issue], *, title: str, full: str = "") -> str:
    """Returns the text report: what was checked, a table of issues by rank, a paragraph for each, and their number.

    Args:
      full: path of the file that lists every file, mentioned if the report does not.
    """
    lines = [f"{title}: {_inventory(stats)}", f"Checked for a network canvas of {_canvas(plan)}.", ""]
    if len(issues) > 1:
        lines += [*_table(issues), ""]
    for number, each in enumerate(issues, start=1):
        lines += [*_paragraph(number, each), ""]
    if full and is_cut(issues):
        lines += [f"Every file by name: {full}", ""]
    return "\n".join([*lines, _summary(issues)])


def is_cut(issues: Sequence[Issue]) -> bool:
    """Returns whether the text report leaves out files of an issue."""
    return any(len(each.files) > _NAMED for each in issues)


def write_full_list(path: str, issues: Sequence[Issue], content: str) -> str:
    """Writes the JSON report if the text report leaves files out; returns its path, or an empty string."""
    if not (path and is_cut(issues)):
        return ""
    try:
        fileio.write_file(Path(path), f"{content}\n")
    except OSError as error:
        logging.warning("The list of all files could not be written to %s (%s); try another --report.", path, error)
        return ""
    return path


def _table(issues: Sequence[Issue]) -> list[str]:
    """Returns a line per issue: severity, code, count, and the flag that helps."""
    rows = [("", "severity", "finding", "count", "flag")]
    for number, each in enumerate(issues, start=1):
        flag = re.search(r"--\w+", each.remedy)
        rows.append(
            (
                f"{number}.",
                each.severity.name.lower(),
                each.code,
                f"{each.count:,}{_share(each)}",
                flag[0] if flag else "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place == 0 else cell.ljust(width) for place, (cell, width) in enumerate(cells)
        ).rstrip()
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def render_line(each: Issue) -> str:
    """Returns an issue in one line: what, cause, remedy."""
    parts = [_head(each), each.detail or each.why, " ".join(each.remedy.split())]
    return " ".join(_ended(text) for text in parts if text)


def as_json(stats: DatasetStats, plan: Plan, issues: Sequence[Issue], *, title: str, fixed: FixedDataset | None) -> str:
    """Returns the report as JSON, with the corrections; keys and codes are stable."""
    content = {
        "version": VERSION,
        "data": title,
        "verdict": _VERDICTS[worst_severity(issues)],
        "photos": len(stats.images),
        "photos_met": stats.num_files,
        "boxes": len(stats.boxes.name),
        "splits": {name: len(part) for name, part in stats.splits.items()},
        "boxes_per_class": stats.boxes_per_class(),
        "image_size": list(plan.canvas),
        "findings": [_as_object(each) for each in issues],
        "mended": _fixed_as_object(fixed) if fixed is not None else None,
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _fixed_as_object(fixed: FixedDataset) -> dict[str, int]:
    # The keys of the file are stable: the number of images keeps its original name.
    return {"num_photos" if key == "num_images" else key: value for key, value in dataclasses.asdict(fixed).items()}


def describe_fixed_dataset(fixed: FixedDataset) -> str:
    """Returns a summary of the corrected copy."""
    kept = (
        f" {fixed.num_alike_kept:,} more look like training images and stayed, because moving them would leave too few "
        "for validation; divide the images by scene, in two lists of your own."
    )
    return (
        f"The corrected copy holds {counted(fixed.num_images, 'image')} and {counted(fixed.num_boxes, 'box')}. Left "
        f"out as unusable: {counted(fixed.num_left_out, 'image')}; as duplicates or crowds: "
        f"{counted(fixed.num_boxes_dropped, 'box')}. "
        f"Moved from validation to training: {counted(fixed.num_moved, 'image')}.{kept if fixed.num_alike_kept else ''}"
    )


def _as_object(each: Issue) -> dict[str, Any]:
    return {
        "code": each.code,
        "severity": each.severity.name.lower(),
        "title": each.title,
        "count": each.count,
        "of": each.of,
        "harm": round(each.harm, 4),
        "detail": each.detail,
        "why": each.why,
        "mend": each.remedy,
        "files": list(each.files),
        "values": dict(each.values),
    }


def _inventory(stats: DatasetStats) -> str:
    parts = ", ".join(f"{len(part):,} {name}" for name, part in stats.splits.items())
    unusable = stats.num_files - len(stats.images)
    images = f"{len(stats.images):,} of " if unusable > 0 else ""
    images += counted(max(stats.num_files, len(stats.images)), "image")
    boxes = stats.boxes
    parts = f" ({parts})" if parts else ""
    return f"{images}{parts}, {counted(len(boxes.name), 'box')}, {counted(len(boxes.names), 'class')}."


def _canvas(plan: Plan) -> str:
    height, width = plan.canvas
    return f"{width} x {height} px"


def _head(each: Issue) -> str:
    return f"{each.count:,} × {each.title}{_share(each)}"


def _share(each: Issue) -> str:
    """Returns the share of the total, where it means something."""
    if not each.unit or each.count > each.of:
        return ""
    return f" ({_percent(each.count / each.of)} of {each.of:,} {each.unit})"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _paragraph(number: int, each: Issue) -> list[str]:
    head = f"{number:>2}. {each.severity.name.lower()}: {_head(each)} [{each.code}]"
    lines = textwrap.wrap(head, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    # Not stripped: one-digit numbers are aligned with two-digit numbers.
    lines[0] = head[: len(head) - len(head.lstrip())] + lines[0].lstrip()
    for word, text in (("", each.detail), ("why: ", each.why), ("fix: ", each.remedy)):
        if text:
            lines += _indented(f"{word}{_ended(text)}")
    return [*lines, *_named(each)]


def _named(each: Issue) -> list[str]:
    """Returns the first files, never wrapped, so that they can be copied, and the number of the others."""
    more = len(each.files) - _NAMED
    return [
        *(f"    {file}" for file in each.files[:_NAMED]),
        *([f"    and {more:,} more files"] if more > 0 else []),
    ]


def _ended(text: str) -> str:
    return text if text[-1] in ".?!" else f"{text}."


def _indented(text: str) -> list[str]:
    wrap = textwrap.TextWrapper(
        _WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [wrapped for each in text.splitlines() for wrapped in wrap.wrap(each)]


def _summary(issues: Sequence[Issue]) -> str:
    if not issues:
        return "No issues found."
    counts = {severity: sum(each.severity == severity for each in issues) for severity in reversed(Severity)}
    text = [counted(count, severity.name.lower()) for severity, count in counts.items() if count]
    return f"{', '.join(text)}."
