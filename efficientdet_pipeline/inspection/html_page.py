"""HTML page of an inspection; it embeds its images, so that it is a single file."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from efficientdet_pipeline.inspection.stats import InspectionStats, SplitStats

MAX_LISTED = 200
JPEG_QUALITY = 85

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #191919;
  background: #fff; max-width: 1120px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
p.lead { color: #555; margin-top: .2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; }
code { overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; border: 1px solid #ddd; }
figcaption { color: #555; font-size: .9rem; }
.scroll { overflow-x: auto; }
.damaged { border-left: 5px solid #d55e00; background: #fdf1e9; padding: .4rem 1rem; }
.whole { border-left: 5px solid #009e73; background: #ecf7f3; padding: .4rem 1rem; }
"""


class ReportFigure(NamedTuple):
    """A figure of the page."""

    name: str
    """Name of the image file beside the page."""
    title: str
    content: bytes
    """PNG or JPEG."""


def as_jpeg(image: np.ndarray) -> bytes:
    """Returns a contact sheet as a small JPEG; uint8 RGB (h, w, 3)."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()


def html_page(contents: InspectionStats, figures: Sequence[ReportFigure], *, title: str, lead: str) -> str:
    """Returns the HTML page.

    Args:
      contents: statistics of the shards.
      figures: in the order of the page; they are embedded.
      title: one line.
      lead: a sentence on the data and the network.
    """
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        f'<head><meta charset="utf-8"/><title>{_text(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        f"<style>{_STYLE}</style></head>",
        f'<body><h1>{_text(title)}</h1><p class="lead">{_text(lead)}</p>',
        _damaged_records(contents),
        "<h2>Counts</h2>",
        _split_table(contents),
        "<h2>Classes</h2>",
        _class_table(contents),
        *(_figure(figure) for figure in figures),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _damaged_records(contents: InspectionStats) -> str:
    damaged = contents.damaged
    empty = [path for split in contents.splits for path in split.empty_files]
    notes = "".join(f"<p>The file <code>{_text(path)}</code> is empty.</p>" for path in empty)
    if not damaged:
        return f'<div class="whole"><p>All records of all files are readable.</p>{notes}</div>'
    rows = "".join(
        f"<tr><td><code>{_text(damage.location.file)}</code></td>{_cell(damage.location.record)}{_cell(damage.location.offset)}"
        f"<td>{_text(damage.what)}</td></tr>"
        for damage in damaged[:MAX_LISTED]
    )
    more = f"<p>And {len(damaged) - MAX_LISTED:,} more, in counts.json.</p>" if len(damaged) > MAX_LISTED else ""
    return (
        f'<div class="damaged"><h2>Damaged records: {len(damaged):,}</h2>'
        "<p>Training stops with an error at such a record. They are left out below. Write the shards again, or copy "
        'them again from their source.</p><div class="scroll"><table><tr><th scope="col">file</th>'
        '<th scope="col" class="number">record, from 0</th><th scope="col" class="number">at byte</th>'
        f'<th scope="col">problem</th></tr>{rows}</table></div>{more}{notes}</div>'
    )


def _split_table(contents: InspectionStats) -> str:
    rows: list[tuple[str, Callable[[SplitStats], str]]] = [
        ("files", lambda split: f"{len(split.files):,}"),
        ("images", lambda split: f"{split.num_images:,}"),
        ("images without boxes", lambda split: f"{split.num_negatives:,}"),
        ("boxes", lambda split: f"{split.num_boxes:,}"),
        ("boxes per image: median, maximum", _boxes_per_image),
        ("classes", lambda split: f"{len(split.images_with):,}"),
        ("crowd boxes", lambda split: f"{split.num_crowd:,}"),
        ("images with masks", lambda split: f"{split.num_masked:,}"),
        ("image sizes", _sizes),
        ("unusual boxes", _unusual_boxes),
        ("damaged records", lambda split: f"{len(split.damaged):,}"),
    ]
    head = "".join(f'<th scope="col" class="number">{_text(split.name)}</th>' for split in contents.splits)
    body = "".join(
        f'<tr><th scope="row">{_text(name)}</th>'
        + "".join(f'<td class="number">{_text(value(split))}</td>' for split in contents.splits)
        + "</tr>"
        for name, value in rows
    )
    return f'<div class="scroll"><table><tr><th scope="col">split</th>{head}</tr>{body}</table></div>'


def _class_table(contents: InspectionStats) -> str:
    boxes = [split.boxes_of for split in contents.splits]
    head = "".join(
        f'<th scope="col" class="number">{_text(split.name)}: boxes</th><th scope="col" class="number">images</th>'
        for split in contents.splits
    )
    body = "".join(
        f'<tr>{_cell(class_id)}<th scope="row">{_text(name)}</th>'
        + "".join(
            _cell(counts[class_id]) + _cell(split.images_with[class_id])
            for counts, split in zip(boxes, contents.splits, strict=True)
        )
        + "</tr>"
        for class_id, name in contents.label_map.items()
    )
    return (
        '<div class="scroll"><table><tr><th scope="col" class="number">id</th><th scope="col">class</th>'
        f"{head}</tr>{body}</table></div>"
    )


def _figure(figure: ReportFigure) -> str:
    kind = "png" if figure.content.startswith(b"\x89PNG") else "jpeg"
    data = base64.b64encode(figure.content).decode("ascii")
    return (
        f"<h2>{_text(figure.title)}</h2><figure>"
        f'<img alt="{_text(figure.title)}" src="data:image/{kind};base64,{data}"/>'
        f"<figcaption>{_text(figure.name)}</figcaption></figure>"
    )


def _boxes_per_image(split: SplitStats) -> str:
    if not split.boxes_per_image:
        return "–"
    return f"{np.median(split.boxes_per_image):g}, {max(split.boxes_per_image):,}"


def _sizes(split: SplitStats) -> str:
    common = [f"{width}×{height} ({count:,})" for (height, width), count in split.image_sizes.most_common(3)]
    rest = len(split.image_sizes) - len(common)
    return ", ".join([*common, *([f"{rest:,} more"] if rest > 0 else [])]) or "–"


def _unusual_boxes(split: SplitStats) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in split.unusual.items()) or "none"


def _cell(number: int) -> str:
    return f'<td class="number">{number:,}</td>'


def _text(value: object) -> str:
    # File names may hold bytes that are not text, and XML forbids control characters.
    plain = str(value).encode("utf-8", "replace").decode("utf-8")
    return html.escape("".join(sign if sign.isprintable() or sign == " " else "\ufffd" for sign in plain))
