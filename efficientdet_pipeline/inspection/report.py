"""Output folder of an inspection: samples, contact sheets, charts, counts.json, and the HTML page."""

import io
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from efficientdet_pipeline.inspection import charts
from efficientdet_pipeline.inspection.anchor_view import (
    anchor_report,
    anchor_sides,
    draw_anchor_matches,
    matches,
    spread,
)
from efficientdet_pipeline.inspection.html_page import ReportFigure, as_jpeg, html_page
from efficientdet_pipeline.inspection.stats import InspectionStats, summary
from efficientdet_pipeline.visualize.annotated_figure import AnnotatedFigure, Style, draw_figure
from efficientdet_pipeline.visualize.grid import MAX_IMAGES, annotated_contact_sheet
from tfrmod import fileio

if TYPE_CHECKING:
    from efficientdet.config import DetectorConfig

PAGE = "index.html"
COUNTS = "counts.json"
RAW, AUGMENTED, EVALUATED, ANCHORS = "raw.png", "augmented.png", "evaluated.png", "anchors.png"
BOXES_PER_IMAGE, BOX_SIZES, ASPECT_RATIOS = "boxes_per_image.png", "box_sizes.png", "aspect_ratios.png"
CLASSES, CO_OCCURRENCE = "classes.png", "co_occurrence.png"
TITLES = {
    RAW: "Records",
    AUGMENTED: "The same records as training inputs",
    EVALUATED: "The same records as evaluation inputs",
    ANCHORS: "Anchors assigned to a box",
    BOXES_PER_IMAGE: "Boxes per image",
    BOX_SIZES: "Box sizes",
    ASPECT_RATIOS: "Aspect ratios",
    CLASSES: "Boxes per class",
    CO_OCCURRENCE: "Classes in the same image",
}
"""Titles of all figures except the samples, by name."""
NUM_MATCHES = 6
JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class ReportWriter:
    """Writes the output folder of an inspection."""

    folder: Path
    contents: InspectionStats
    config: "DetectorConfig"
    style: Style
    source: str
    """Description of the shards."""
    is_augmented: bool
    """Whether the samples are augmented, as in training."""
    earlier: frozenset[str] = frozenset()
    """Files of an earlier call; those that this call does not write are deleted."""

    def write(self, pairs: Iterable[tuple[AnnotatedFigure, AnnotatedFigure]]) -> int:
        """Writes all files and returns the number of samples.

        Args:
          pairs: for each sample the record and the network's input.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        kept: list[tuple[AnnotatedFigure, AnnotatedFigure]] = []
        count = 0
        for count, (record, sample) in enumerate(pairs, start=1):
            self._save(f"sample{count - 1}.jpg", _encoded(draw_figure(sample, self.style), "JPEG"))
            if len(kept) < MAX_IMAGES:
                kept.append((record, sample))
        self._clear_leftovers(count)
        figures = [*self._sheets(kept, count), *self._charts()]
        counts = summary(self.contents, self.config.image_size)
        self._save(COUNTS, json.dumps(counts, indent=1, ensure_ascii=False) + "\n")
        page = html_page(self.contents, figures, title="Contents of the shards", lead=self._lead(count))
        self._save(PAGE, page)
        return count

    def _sheets(self, pairs: list[tuple[AnnotatedFigure, AnnotatedFigure]], count: int) -> list[ReportFigure]:
        if not pairs:
            return []
        cut = (
            f" These are the first {len(pairs)} of {count}; for the others see sample….jpg."
            if count > len(pairs)
            else ""
        )
        records, samples = ([pair[side] for pair in pairs] for side in (0, 1))
        height, width = self.config.image_size
        second = AUGMENTED if self.is_augmented else EVALUATED
        how = "augmented at random" if self.is_augmented else "not augmented"
        drawn = {
            RAW: annotated_contact_sheet(
                records,
                self.style,
                title=TITLES[RAW],
                text="Images, boxes and masks as stored in the shards. Check for objects without a box, boxes without "
                f"an object, and wrong names: the detector is trained on them.{cut}",
            ),
            second: annotated_contact_sheet(
                samples,
                self.style,
                title=f"{TITLES[second]} ({width}×{height} px)",
                text=f"Each image on the network's canvas, {how}. The colours are restored from normalised pixels; "
                "the boxes are those used in training. They must still lie on their objects.",
            ),
        }
        found = [match for sample in samples for match in matches(sample, self.config)]
        if found:
            text = (
                "White: the true box. Left: the anchors assigned to it, with a dot at each centre, coloured by pyramid "
                "level. Right: their decoded targets; they must coincide with the box. Light grey lies "
                f"outside the canvas. {anchor_report(found)}"
            )
            drawn[ANCHORS] = draw_anchor_matches(spread(found, NUM_MATCHES), self.config, self.style, text=text)
        for name, image in drawn.items():
            self._save(name, _encoded(image, "PNG"))
        return [ReportFigure(name, TITLES[name], as_jpeg(image)) for name, image in drawn.items()]

    def _charts(self) -> list[ReportFigure]:
        contents, style = self.contents, self.style
        drawn = {BOXES_PER_IMAGE: charts.boxes_per_image(contents, style)}
        if any(split.num_boxes for split in contents.splits):
            canvas, smallest = self.config.image_size, min(low for low, _ in anchor_sides(self.config).values())
            drawn[BOX_SIZES] = charts.box_sizes(contents, style, canvas=canvas, smallest_anchor=smallest)
            drawn[ASPECT_RATIOS] = charts.box_aspects(contents, style, anchor_aspects=_aspects(self.config))
            drawn[CLASSES] = charts.boxes_per_class(contents, style)
            drawn[CO_OCCURRENCE] = charts.co_occurrence(contents, style)
        for name, content in drawn.items():
            self._save(name, content)
        return [ReportFigure(name, TITLES[name], content) for name, content in drawn.items()]

    def _lead(self, num_samples: int) -> str:
        return f"{self.source}. {num_samples} records are drawn. Network: {self.config.name}."

    def _clear_leftovers(self, count: int) -> None:
        """Removes the files that an earlier, longer inspection left, so that they are not read as part of this one."""
        for name in self.earlier - {f"sample{number}.jpg" for number in range(count)}:
            if is_report_file(name):
                (self.folder / name).unlink(missing_ok=True)

    def _save(self, name: str, content: bytes | str) -> None:
        fileio.write_file(self.folder / name, content)


def report_files(num_samples: int) -> set[str]:
    """Returns the names of all files that an output folder may have."""
    return {PAGE, COUNTS, *TITLES, *(f"sample{number}.jpg" for number in range(num_samples))}


def is_report_file(name: str) -> bool:
    """Returns whether an output folder may have a file of this name."""
    return name in report_files(0) or re.fullmatch(r"sample\d+\.jpg", name) is not None


def files_of_report(folder: Path) -> set[str]:
    """Returns the files of an output folder from its counts.json; earlier versions recorded nothing else."""
    try:
        content = json.loads((folder / COUNTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    is_album = isinstance(content, dict) and {"classes", "canvas", "splits"} <= content.keys()
    if not is_album:
        return set()
    names = {path.name for path in folder.iterdir()}
    count = next(number for number in itertools.count() if f"sample{number}.jpg" not in names)
    return names & report_files(count)


def _aspects(config: "DetectorConfig") -> list[float]:
    """Returns width / height of the anchors."""
    ratios = config.aspect_ratios
    return [ratio[0] / ratio[1] if isinstance(ratio, tuple | list) else float(ratio) for ratio in ratios]


def _encoded(image: np.ndarray, kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, **({"quality": JPEG_QUALITY} if kind == "JPEG" else {}))
    return content.getvalue()
