"""The page that the doctor writes: for people, and for machines."""

import dataclasses
import json
import textwrap
from collections.abc import Sequence
from typing import Any

from efficientdet_pipeline.doctor.facts import Facts, Plan
from efficientdet_pipeline.doctor.findings import MAX_FILES, Finding, Severity, verdict
from efficientdet_pipeline.doctor.mending import Mended

VERSION = 1
_WIDTH = 100
_LONGEST = 110
_FILES_OF_A_NOTE = 3
_VERDICTS = {Severity.NOTE: "clean", Severity.WARNING: "warnings", Severity.ERROR: "errors"}


def page(facts: Facts, plan: Plan, findings: Sequence[Finding], *, title: str) -> str:
    """Returns one page: what was looked at, the findings by rank, and how many there are of each severity."""
    lines = [f"{title}: {_inventory(facts)}", f"Seen as a network of {_canvas(plan)} sees it.", ""]
    for number, each in enumerate(findings, start=1):
        lines += [*_paragraph(number, each), ""]
    return "\n".join([*lines, _summary(findings)])


def line(each: Finding) -> str:
    """Returns a finding in one line: what, how it shows, what mends it."""
    told = [_head(each), each.detail or each.why, " ".join(each.mend.split())]
    return " ".join(_ended(text) for text in told if text)


def as_json(facts: Facts, plan: Plan, findings: Sequence[Finding], *, title: str, mended: Mended | None) -> str:
    """Returns the same for machines, and what was mended; the keys and codes are stable."""
    content = {
        "version": VERSION,
        "data": title,
        "verdict": _VERDICTS[verdict(findings)],
        "photos": len(facts.photos),
        "photos_met": facts.num_files,
        "boxes": len(facts.boxes.name),
        "splits": {name: len(part) for name, part in facts.splits.items()},
        "boxes_per_class": facts.boxes_per_class(),
        "image_size": list(plan.canvas),
        "findings": [_as_object(each) for each in findings],
        "mended": dataclasses.asdict(mended) if mended is not None else None,
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def mended_in_words(made: Mended) -> str:
    """Returns what the mended copy holds, and what became of the rest."""
    return (
        f"The mended copy holds {made.num_photos:,} photos and {made.num_boxes:,} boxes. Left out: "
        f"{made.num_left_out:,} photos that cannot be used, and "
        f"{made.num_boxes_dropped:,} boxes that were there twice or mark a crowd. "
        f"Moved from validation to training: {made.num_moved:,} photos."
    )


def _as_object(each: Finding) -> dict[str, Any]:
    return {
        "code": each.code,
        "severity": each.severity.name.lower(),
        "title": each.title,
        "count": each.count,
        "of": each.of,
        "harm": round(each.harm, 4),
        "detail": each.detail,
        "why": each.why,
        "mend": each.mend,
        "files": list(each.files),
        "values": dict(each.values),
    }


def _inventory(facts: Facts) -> str:
    parts = ", ".join(f"{len(part):,} {name}" for name, part in facts.splits.items())
    unusable = facts.num_files - len(facts.photos)
    left_out = f" of {facts.num_files:,}" if unusable > 0 else ""
    boxes = facts.boxes
    parts = f" ({parts})" if parts else ""
    return f"{len(facts.photos):,}{left_out} photos{parts}, {len(boxes.name):,} boxes, {len(boxes.names)} classes."


def _canvas(plan: Plan) -> str:
    height, width = plan.canvas
    return f"{width} x {height} px"


def _head(each: Finding) -> str:
    share = f" ({_percent(each.count / each.of)})" if each.of and each.count <= each.of else ""
    return f"{each.count:,} × {each.title}{share}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _paragraph(number: int, each: Finding) -> list[str]:
    lines = [f"{number:>2}. {each.severity.name.lower()}: {_head(each)}"]
    for word, text in (("", each.detail), ("why: ", each.why), ("mend: ", each.mend)):
        if text:
            lines += _indented(f"{word}{_ended(text)}")
    return [*lines, *_named(each)]


def _named(each: Finding) -> list[str]:
    """Returns the files, without the folder that all of them lie in; of a note, a few will do."""
    if not each.files:
        return []
    folders = {"".join(file.partition(" (")[0].rpartition("/")[:2]) for file in each.files}
    folder = folders.pop() if len(folders) == 1 else ""
    shown = each.files[: _FILES_OF_A_NOTE if each.severity == Severity.NOTE else len(each.files)]
    text = ", ".join(_shortened(file.replace(folder, "") if folder else file) for file in shown)
    is_cut = len(shown) < len(each.files) or len(each.files) == MAX_FILES < each.count
    more = " and more" if is_cut else ""
    return _indented(f"{f'in {folder}: ' if folder else ''}{text}{more}")


def _shortened(file: str) -> str:
    return file if len(file) <= _LONGEST else f"{file[: _LONGEST - 2]}…)"


def _ended(text: str) -> str:
    return text if text[-1] in ".?!" else f"{text}."


def _indented(text: str) -> list[str]:
    wrap = textwrap.TextWrapper(
        _WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [wrapped for each in text.splitlines() for wrapped in wrap.wrap(each)]


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing was found wrong."
    counts = {severity: sum(each.severity == severity for each in findings) for severity in reversed(Severity)}
    said = [
        f"{count} {severity.name.lower()}{'s' if count != 1 else ''}" for severity, count in counts.items() if count
    ]
    return f"{', '.join(said)}."
