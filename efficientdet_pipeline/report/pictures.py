"""Figures in a run's folder: confusion matrix, curves, labels and batches."""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.evaluation.confusion import ConfusionMatrix
from efficientdet_pipeline.evaluation.curves import ScoreCurve, best_overall, mean_f1
from efficientdet_pipeline.visualize.boxes import class_color, draw_detections
from efficientdet_pipeline.visualize.grid import contact_sheet, resize_to_fit
from tfrmod import fileio
from tfrmod.counted import counted

CONFUSION, PR_CURVE, F1_CURVE = "confusion_matrix.png", "pr_curve.png", "f1_curve.png"
LABELS = "labels.jpg"
TRAIN_BATCH, VAL_LABELS, VAL_PREDICTIONS = "train_batch0.jpg", "val_batch0_labels.jpg", "val_batch0_pred.jpg"
MAX_NAMED = 10
"""Classes with a colour and a legend entry in a chart of curves."""
MAX_CELLS = 30
"""Maximum number of classes for which counts are printed in the cells of the confusion matrix."""
MAX_TILES = 16
TILE = 480
"""Longest side in pixels of an image on a contact sheet."""
_DPI = 120
_GRID = np.linspace(0, 1, 501)


def write_evaluation_pictures(folder: Path, analysis: Analysis) -> list[Path]:
    """Writes confusion matrix, precision-recall and F1 curves of an evaluation and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        CONFUSION: confusion_picture(analysis.confusion, analysis.names, threshold=analysis.threshold),
        PR_CURVE: pr_curve_picture(analysis.curves, analysis.names, analysis.metrics.per_class["AP50"]),
        F1_CURVE: f1_curve_picture(analysis.curves, analysis.names),
    }
    for name, content in drawn.items():
        fileio.write_file(folder / name, content)
    return [folder / name for name in drawn]


def confusion_picture(matrix: ConfusionMatrix, names: Mapping[int, str], *, threshold: float) -> bytes:
    """Returns the confusion matrix as PNG: rows are true classes, colours the shares of a row."""
    size = len(matrix.class_ids) + 1
    side = min(26.0, 3.5 + 0.48 * size)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    image = axes.imshow(matrix.shares, cmap="Blues", vmin=0, vmax=1)
    labels = [_plain(names.get(class_id, str(class_id))) for class_id in matrix.class_ids]
    axes.set_xticks(range(size), [*labels, "missed"], rotation=90 if size > 4 else 0)
    axes.set_yticks(range(size), [*labels, "background"])
    if size <= MAX_CELLS + 1:
        for row, column in zip(*np.nonzero(matrix.counts), strict=True):
            color = "white" if matrix.shares[row, column] > 0.55 else "black"
            count = f"{matrix.counts[row, column]:,}"
            axes.text(column, row, count, ha="center", va="center", color=color, fontsize=8)
    axes.set_xlabel("detected as")
    axes.set_ylabel("true class")
    axes.set_title(f"Confusion matrix, score {threshold:.2f} or more, IoU 0.5", loc="left", fontsize="medium")
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the row")
    return _png(figure)


def pr_curve_picture(
    curves: Mapping[int, ScoreCurve], names: Mapping[int, str], ap50: Mapping[str, float] | None = None
) -> bytes:
    """Returns the precision-recall curve of every class as PNG; `ap50` by class name is added to the legend."""
    lines = []
    for class_id, curve in curves.items():
        envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
        name = names.get(class_id, str(class_id))
        value = f" {ap50[name]:.3f}" if ap50 and name in ap50 else ""
        lines.append((f"{name}{value}", np.append(0.0, curve.recall), np.append(envelope[:1], envelope)))
    lines = [(name, x, y if len(y) else np.zeros(len(x))) for name, x, y in lines]
    return _curves(lines, title="Precision over recall, IoU 0.5", labels=("recall", "precision"))


def f1_curve_picture(curves: Mapping[int, ScoreCurve], names: Mapping[int, str]) -> bytes:
    """Returns F1 by score threshold of every class and their mean as PNG, with the best threshold marked."""
    lines = [(names.get(class_id, str(class_id)), _GRID, curve.at(_GRID)[2]) for class_id, curve in curves.items()]
    best = best_overall(curves)
    mean = ("all classes", _GRID, mean_f1(list(curves.values()), _GRID)) if curves else None
    title = "F1 over score, IoU 0.5"
    if best is not None:
        title += f": best {best.f1:.3f} at {best.threshold:.3f}"
    return _curves(
        lines, title=title, labels=("score threshold", "F1"), bold=mean, mark=best.threshold if best else None
    )


def labels_picture(boxes_unit: np.ndarray, class_ids: np.ndarray, names: Mapping[int, str]) -> bytes:
    """Returns the distribution of annotations as JPEG: objects by class, box centres, box sizes.

    Args:
      boxes_unit: (n, 4) y0 x0 y1 x1, 0 to 1.
      class_ids: (n,).
      names: class id to name.
    """
    boxes = np.asarray(boxes_unit, np.float64).reshape(-1, 4)
    figure = _figure(13, 4.6)
    bars, places, sizes = figure.subplots(1, 3)
    ids, counts = np.unique(np.asarray(class_ids, np.int64), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:40]
    colors = [np.array(class_color(int(class_id))) / 255 for class_id in ids[order]]
    bars.barh(range(len(order)), counts[order], color=colors)
    labels = [_plain(names.get(int(class_id), str(class_id))) for class_id in ids[order]]
    bars.set_yticks(range(len(order)), labels, fontsize=8 if len(order) < 25 else 6)
    bars.invert_yaxis()
    bars.set_title(counted(len(boxes), "object") + (f", {len(order)} of {len(ids)} classes" if len(ids) > 40 else ""))
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    for axes, values, title, (x_label, y_label) in (
        (places, centers, "Centres", ("x", "y")),
        (sizes, sides, "Sizes", ("width", "height")),
    ):
        density = np.histogram2d(values[:, 1], values[:, 0], bins=50, range=[[0, 1], [0, 1]])[0].T
        axes.imshow(np.log1p(density), origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
        axes.set_title(f"{title}, as fractions of the image")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    places.invert_yaxis()
    return jpeg(np.asarray(Image.open(io.BytesIO(_png(figure))).convert("RGB")))


def batch_picture(
    images: Sequence[np.ndarray],
    boxes: Sequence[np.ndarray],
    class_ids: Sequence[np.ndarray],
    label_map: Mapping[int, str],
    *,
    scores: Sequence[np.ndarray] | None = None,
    min_score: float = 0.0,
    titles: Sequence[str] = (),
) -> bytes:
    """Returns the first images of a batch with their boxes as one JPEG.

    Args:
      images: uint8 RGB (h, w, 3) each, of any size.
      boxes: (d, 4) y0 x0 y1 x1 of each, in its pixels.
      class_ids: (d,) of each.
      label_map: class id to name.
      scores: (d,) of each; None for ground truth.
      min_score: boxes with a lower score are not drawn.
      titles: a line above each image, or none.
    """
    tiles = []
    for number, image in enumerate(images[:MAX_TILES]):
        tile, tile_boxes = resize_to_fit(image, boxes[number], TILE)
        own_scores = None if scores is None else np.asarray(scores[number])
        tiles.append(
            draw_detections(tile, tile_boxes, class_ids[number], own_scores, label_map=label_map, min_score=min_score)
        )
    return jpeg(contact_sheet(tiles, titles=list(titles)[: len(tiles)]))


def write_batch_pictures(folder: Path, pictures: Mapping[str, bytes]) -> list[Path]:
    """Writes figures by file name, each atomically, and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        fileio.write_file(folder / name, content)
    return [folder / name for name in pictures]


_Line = tuple[str, np.ndarray, np.ndarray]


def _curves(
    lines: Sequence[_Line],
    *,
    title: str,
    labels: tuple[str, str],
    bold: _Line | None = None,
    mark: float | None = None,
) -> bytes:
    figure = _figure(8.4, 5.4)
    axes = figure.subplots()
    is_many = len(lines) > MAX_NAMED
    for number, (name, x, y) in enumerate(lines):
        color = "0.75" if is_many else np.array(class_color(number + 1)) / 255
        axes.plot(x, y, color=color, linewidth=0.9 if is_many else 1.6, label=None if is_many else _plain(name))
    if bold is not None:
        axes.plot(bold[1], bold[2], color="black", linewidth=2.6, label=bold[0])
    if mark is not None:
        axes.axvline(mark, color="0.4", linestyle=":", linewidth=1.2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.grid(alpha=0.3)
    axes.set_title(title, loc="left", fontsize="medium")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", frameon=False)
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    # Not pyplot, which keeps its figures for the lifetime of the process; this may also run in any thread.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Names in scripts that the font lacks are drawn as boxes; the report has them as text.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    return content.getvalue()


def jpeg(image: np.ndarray) -> bytes:
    """Returns an image as JPEG; uint8 RGB (h, w, 3)."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=88)
    return content.getvalue()


def _plain(name: str) -> str:
    """Returns a name in one short line, without dollar signs, which would start a formula."""
    name = " ".join(name.split())
    return (name if len(name) <= 28 else f"{name[:16]}…{name[-11:]}").replace("$", r"\$")
