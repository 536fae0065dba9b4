"""Histograms of shards, as PNG. The title says what is counted, the line below how to read it."""

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from efficientdet_pipeline.inspection.stats import InspectionStats, SplitStats, aspect_ratios, side_shares
from efficientdet_pipeline.visualize.annotated_figure import Style

SIZE = (9.6, 5.4)
DPI = 120
MAX_BARS = 50
MAX_CLASSES = 60
MAX_PAIRED = 30
GREY = "0.35"
# Class ids whose colours mark the splits: blue, orange and green are distinct with colour blindness and in grey.
_SPLIT_COLORS = (7, 1, 3, 2, 5, 6, 4)


def boxes_per_image(contents: InspectionStats, style: Style) -> bytes:
    """Returns the chart of the number of boxes per image."""
    values = {split.name: np.asarray(split.boxes_per_image) for split in contents.splits}
    most = max((int(each.max(initial=0)) for each in values.values()), default=0)
    step = max(1, math.ceil((most + 1) / MAX_BARS))
    bins = np.arange(0, most + step + 1, step) - 0.5
    negatives = sum(split.num_negatives for split in contents.splits)
    none = f"{negatives:,} images have none: they train the background." if negatives else "Every image has boxes."
    wide = f"; each bar covers {step} counts" if step > 1 else ""
    axes = _axes("Boxes per image", f"{none} Maximum: {most:,} boxes{wide}.")
    _stacked(axes, values, bins, style)
    axes.set_xlabel("boxes per image")
    axes.set_ylabel("images")
    _count_axis(axes.xaxis)
    return _png(axes)


def box_sizes(contents: InspectionStats, style: Style, *, canvas: tuple[int, int], smallest_anchor: float) -> bytes:
    """Returns the chart of box sizes on the network's canvas.

    Args:
      contents: statistics of the shards.
      style: colours of the splits.
      canvas: height and width in pixels.
      smallest_anchor: side in canvas pixels.
    """
    side = math.sqrt(canvas[0] * canvas[1])
    values = {split.name: _positive(100 * side_shares(split, canvas)) for split in contents.splits}
    pooled = np.concatenate([*values.values(), np.zeros(0)])
    small = int((pooled < 100 * smallest_anchor / side).sum())
    axes = _axes(
        f"Box sizes on a canvas of {canvas[1]}×{canvas[0]} px",
        f"{_share(small, pooled.size)} smaller than the smallest anchor ({smallest_anchor:.0f} px). Boxes below half "
        "of it are hard to detect: a larger --image_size enlarges them, at a cost in time and memory.",
    )
    low, high = (pooled.min(), pooled.max()) if pooled.size else (1.0, 100.0)
    _stacked(axes, values, np.geomspace(low * 0.95, high * 1.05, MAX_BARS), style)
    axes.set_xscale("log")
    _mark(axes, 50 * smallest_anchor / side, "half of it", side="right")
    _mark(axes, 100 * smallest_anchor / side, f"smallest anchor, {smallest_anchor:.0f} px", side="left")
    axes.set_xlabel("side of a box, √(width × height), in percent of the canvas' side (logarithmic)")
    axes.set_ylabel("boxes")
    _plain_ticks(axes, lambda share, _: f"{share:g}%")
    pixels = axes.secondary_xaxis(
        "top", functions=(lambda share: np.multiply(share, side / 100), lambda px: np.multiply(px, 100 / side))
    )
    pixels.set_xlabel("the same in canvas pixels", color=GREY, fontsize=9)
    pixels.set_xticks([2.0**power for power in range(14)], [str(2**power) for power in range(14)])
    pixels.xaxis.set_minor_formatter(NullFormatter())
    return _png(axes)


def box_aspects(contents: InspectionStats, style: Style, *, anchor_aspects: Sequence[float]) -> bytes:
    """Returns the chart of aspect ratios.

    Args:
      contents: statistics of the shards.
      style: colours of the splits.
      anchor_aspects: width / height of the network's anchors.
    """
    values = {split.name: np.log2(aspect_ratios(split)) for split in contents.splits}
    pooled = np.abs(np.concatenate([*values.values(), np.zeros(0)]))
    reach = max(2.0, math.ceil(pooled.max(initial=0.0)))
    long = int((pooled > np.log2(3.0)).sum())
    axes = _axes(
        "Aspect ratios of boxes",
        f"{_share(long, pooled.size)} above 3:1 or below 1:3. If these are "
        "many, --hparams=aspect_ratios=… sets longer anchors. Dashed: the anchors of this network.",
    )
    _stacked(axes, values, np.linspace(-reach, reach, MAX_BARS + 1), style)
    for aspect in anchor_aspects:
        _mark(axes, math.log2(aspect), _aspect_name(math.log2(aspect)))
    axes.set_xlabel("width : height of a box (logarithmic)")
    axes.set_ylabel("boxes")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda power, _: _aspect_name(power)))
    return _png(axes)


def boxes_per_class(contents: InspectionStats, style: Style) -> bytes:
    """Returns the chart of the number of boxes per class."""
    boxes = {split.name: split.boxes_of for split in contents.splits}
    totals = {class_id: sum(each[class_id] for each in boxes.values()) for class_id in contents.label_map}
    ranked = sorted(totals, key=lambda class_id: (-totals[class_id], class_id))
    visible = ranked[:MAX_CLASSES]
    note = "Classes with few boxes are learnt last; --class_balance or more images of them help."
    if len(visible) < len(ranked):
        note += f" The {len(visible)} largest of {len(ranked)} classes are shown; counts.json has all."
    axes = _axes("Boxes per class", note, height=max(SIZE[1], 1.9 + 0.24 * len(visible)))
    left = np.zeros(len(visible))
    for number, split in enumerate(contents.splits):
        widths = np.array([boxes[split.name][class_id] for class_id in visible], np.float64)
        axes.barh(range(len(visible)), widths, left=left, color=_split_color(style, number), label=split.name)
        left += widths
    for row, class_id in enumerate(visible):
        axes.text(left[row], row, f" {totals[class_id]:,}", va="center", fontsize=9, color=GREY)
    axes.set_yticks(range(len(visible)), [_tick(style.name(class_id)) for class_id in visible])
    axes.set_ylim(len(visible) - 0.4, -0.6)
    axes.margins(x=0.16)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("boxes")
    _count_axis(axes.xaxis)
    _splits_legend(axes)
    return _png(axes)


def co_occurrence(contents: InspectionStats, style: Style) -> bytes:
    """Returns the chart of classes that occur in the same images."""
    image_counts = {class_id: _images_with(contents.splits, class_id, class_id) for class_id in contents.label_map}
    visible = sorted(sorted(image_counts, key=lambda class_id: -image_counts[class_id])[:MAX_PAIRED])
    counts = np.array([[_images_with(contents.splits, one, other) for other in visible] for one in visible], np.float64)
    note = "Images that hold both classes; on the diagonal, those with the class. Colours grow with the square root."
    if len(visible) < len(image_counts):
        note += f" The {len(visible)} classes on the most images of {len(image_counts)} are shown."
    side = max(5.4, 2.4 + 0.33 * len(visible))
    axes = _axes("Classes in the same image", note, height=side, width=max(8.0, side + 2))
    axes.grid(visible=False)
    if visible:
        # Square root, so that one large class does not darken all others.
        image = axes.imshow(counts, cmap="cividis", norm=PowerNorm(0.5, vmin=0, vmax=max(1.0, counts.max())))
        axes.figure.colorbar(image, ax=axes, label="images", shrink=0.8)
    names = [_tick(style.name(class_id)) for class_id in visible]
    is_short = len(visible) < 6
    axes.set_xticks(range(len(visible)), names, rotation=45 if is_short else 90, ha="right" if is_short else "center")
    axes.set_yticks(range(len(visible)), names)
    for (row, column), count in np.ndenumerate(counts) if len(visible) <= 20 else ():
        color = "black" if count > 0.25 * counts.max() else "white"
        axes.text(column, row, f"{count:,.0f}", ha="center", va="center", fontsize=8, color=color)
    return _png(axes)


def _images_with(splits: Sequence[SplitStats], one: int, other: int) -> int:
    """Returns the number of images with both classes, which may be the same class."""
    if one == other:
        return sum(split.images_with[one] for split in splits)
    return sum(split.co_occurrences[min(one, other), max(one, other)] for split in splits)


def _axes(title: str, note: str, *, height: float = SIZE[1], width: float = SIZE[0]) -> Axes:
    """Returns the axes of a new figure; sizes are in inches."""
    lines = textwrap.wrap(note, int(width * 11.5))
    figure = Figure(figsize=(width, height), dpi=DPI)
    band = 0.62 + 0.2 * len(lines)  # Inches for the title and the note.
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 1 - band / height), w_pad=0.08, h_pad=0.08)
    figure.text(0.18 / width, 1 - 0.14 / height, title, fontsize=15, fontweight="bold", va="top")
    figure.text(0.18 / width, 1 - 0.5 / height, "\n".join(lines), fontsize=10, color=GREY, va="top", linespacing=1.4)
    axes: Axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def _count_axis(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(integer=True))
    axis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))


def _stacked(axes: Axes, values: Mapping[str, np.ndarray], bins: np.ndarray, style: Style) -> None:
    colors = [_split_color(style, number) for number in range(len(values))]
    axes.margins(x=0.05, y=0.16)
    if values:
        axes.hist(
            list(values.values()),
            bins.tolist(),
            stacked=True,
            color=colors,
            label=list(values),
            edgecolor="white",
            linewidth=0.4,
        )
    _count_axis(axes.yaxis)
    if not sum(each.size for each in values.values()):
        axes.text(0.5, 0.5, "nothing to count", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_yticks([])
    _splits_legend(axes)


def _splits_legend(axes: Axes) -> None:
    """Adds the legend of the splits in the corner above the axes, where no bar is."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        axes.figure.legend(handles, labels, loc="upper right", ncols=len(handles), frameon=False, fontsize=10)


def _split_color(style: Style, number: int) -> tuple[float, float, float]:
    red, green, blue = style.color_of(_SPLIT_COLORS[number % len(_SPLIT_COLORS)])
    return red / 255, green / 255, blue / 255


def _mark(axes: Axes, location: float, text: str, *, side: str = "center") -> None:
    """Draws a line at `location` with a text at its upper end; `side` aligns the text to the line."""
    axes.axvline(location, color="black", linestyle="--", linewidth=1)
    axes.text(
        location,
        0.97,
        f" {text} ",
        transform=axes.get_xaxis_transform(),
        ha=side,
        va="top",
        fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
    )


def _plain_ticks(axes: Axes, text_of: Callable[[float, int], str]) -> None:
    low, high = axes.get_xlim()
    ticks = [digit * 10.0**power for power in range(-3, 3) for digit in (1, 2, 5)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(text_of))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _share(part: int, whole: int) -> str:
    return f"{max(0.1, 100 * part / whole):.3g}% of the boxes are" if part else "No boxes are"


def _aspect_name(power: float) -> str:
    ratio = 2.0 ** abs(power)
    return f"{ratio:.3g}:1" if power >= 0 else f"1:{ratio:.3g}"


def _positive(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values) & (values > 0)]


def _tick(name: str) -> str:
    # A dollar sign would start a formula.
    return (name if len(name) <= 28 else f"{name[:16]}…{name[-11:]}").replace("$", r"\$")


def _png(axes: Axes) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Names in scripts that the font lacks are drawn as boxes; the HTML page has them as text.
        warnings.filterwarnings("ignore", message="Glyph")
        cast(Figure, axes.figure).savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
