"""Output formats of detections: JSON, COCO results, YOLO txt, VOC XML, CSV, crops and drawn images, in one folder.

Each sink names its files before the first detection, and the writer refuses a
folder that contains other files of these names.
"""

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.image_io import output_names, write_image
from efficientdet_pipeline.inference.results import (
    ImageDetections,
    class_name,
    image_record,
    write_coco_results,
    write_detections_json,
)
from efficientdet_pipeline.inference.thresholds import Thresholds
from efficientdet_pipeline.options.infer import RESULTS
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files
from tfrmod import fileio

Draw = Callable[[np.ndarray, ImageDetections], np.ndarray]
"""From an image and its detections to the drawn image."""


class Detected(NamedTuple):
    """An image and its detections."""

    path: Path
    """As given by the user."""
    name: str
    """File name of its drawn copy: its own name, made unique in the folder."""
    image: np.ndarray
    """uint8 RGB (h, w, 3)."""
    found: ImageDetections
    """Detections of any score."""
    shown: ImageDetections
    """Detections above the thresholds."""
    stem: str
    """Stem of its text files: its name without the suffix, numbered if images share it."""


class Sink(Protocol):
    """One output format."""

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns the files of the images, relative to the folder; `image` and `found` are not used."""

    def write(self, folder: Path, detected: Detected) -> None:
        """Writes the detections of one image."""

    def close(self, folder: Path) -> None:
        """Writes the files that cover all images."""


class SinkWriter:
    """Writes the detections of images into a folder, in several formats.

    Args:
      folder: output folder; created if missing.
      sinks: from `build_sinks`, or custom ones.
      images: all images that will be passed to `write`.
      thresholds: minimum scores of detections that are drawn, cropped, or written as annotations; None for all.
      option: option that names the folder, for messages.
      known: files of an earlier call that recorded none.

    Raises:
      OptionsError: the folder contains an unrelated file with the name of a result, or one of the images.
    """

    def __init__(
        self,
        folder: Path,
        sinks: Sequence[Sink],
        images: Sequence[Path] = (),
        *,
        thresholds: Thresholds | None = None,
        option: str = "output_image_dir",
        known: Collection[str] = (),
    ) -> None:
        self._folder, self._sinks, self._thresholds = folder, sinks, thresholds or Thresholds(0.0)
        names, stems = output_names(images), _unique_stems(images)
        planned = [_planned(path, name, stem) for path, name, stem in zip(images, names, stems, strict=True)]
        self._planned = {each.path: each for each in planned}
        own = [each for each in images if each.parent.resolve() == folder.resolve()]
        if own:
            raise OptionsError(
                f"{option} must be another folder than that of the images, which could be overwritten. Received "
                f"{folder}, which contains {own[0]}; try {folder / 'detections'}.",
                option=option,
            )
        files = [name for sink in sinks for name in sink.names(planned)]
        self._earlier = check_output_files(folder, files, option=option, known=known)
        self._files = files
        note_output_files(folder, files, self._earlier)

    def write(self, path: Path, image: np.ndarray, found: ImageDetections) -> None:
        """Writes the detections of one of the images.

        Args:
          image: uint8 RGB (h, w, 3).
          found: boxes in its pixels, without empty ones.
        """
        self._write(self._planned[path], image, found)

    def write_frame(self, video: str, number: int, image: np.ndarray, found: ImageDetections) -> None:
        """Writes the detections of a video frame; it is named video#number.

        Args:
          video: name of the file, camera or stream.
          number: frame number, from 0.
          image: uint8 RGB (h, w, 3).
          found: boxes in its pixels, without empty ones.
        """
        name = Path(video).name
        stem = f"{_safe(Path(name).stem)}_{number:06d}"
        self._write(_planned(Path(f"{name}#{number}"), f"{stem}.jpg", stem), image, found)

    def _write(self, planned: Detected, image: np.ndarray, found: ImageDetections) -> None:
        inside = found.within(*image.shape[:2])
        detected = planned._replace(image=image, found=inside, shown=self._thresholds.above(inside))
        for sink in self._sinks:
            sink.write(self._folder, detected)

    def close(self) -> None:
        """Completes all files."""
        for sink in self._sinks:
            sink.close(self._folder)
        note_output_files(self._folder, (), {*self._files, *self._earlier})


def _planned(path: Path, name: str, stem: str) -> Detected:
    nothing = ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    return Detected(path, name, np.zeros((0, 0, 3), np.uint8), nothing, nothing, stem)


def _unique_stems(images: Sequence[Path]) -> list[str]:
    taken: set[str] = set()
    stems = []
    for image in images:
        stem, number = image.stem, 2
        while stem.lower() in taken:
            stem, number = f"{image.stem}-{number}", number + 1
        taken.add(stem.lower())
        stems.append(stem)
    return stems


class JsonSink:
    """detections.json: one record per image, `results.image_record`; and COCO's result list."""

    def __init__(self, label_map: Mapping[int, str], *, is_coco: bool = False) -> None:
        self._label_map, self._is_coco = label_map, is_coco
        self._records: list[dict[str, Any]] = []

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns the name of the one file."""
        del images
        return ["detections_coco.json" if self._is_coco else "detections.json"]

    def write(self, folder: Path, detected: Detected) -> None:
        """Adds the record of an image."""
        del folder
        size = (detected.image.shape[0], detected.image.shape[1])
        self._records.append(image_record(detected.path, size, detected.found, self._label_map))

    def close(self, folder: Path) -> None:
        """Writes all records."""
        write = write_coco_results if self._is_coco else write_detections_json
        write(folder / self.names([])[0], self._records)


class YoloSink:
    """labels/<image>.txt: class index from 0, center x, center y, width, height as fractions, and the score."""

    def __init__(self, label_map: Mapping[int, str], *, has_scores: bool = True) -> None:
        self._label_map, self._has_scores = label_map, has_scores

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns a text file per image, and the file of class names."""
        return ["labels/classes.txt", *(f"labels/{each.stem}.txt" for each in images)]

    def write(self, folder: Path, detected: Detected) -> None:
        """Writes the text file of one image."""
        height, width = detected.image.shape[:2]
        lines = []
        for (y0, x0, y1, x1), score, class_id in detected.shown.rows():
            numbers = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
            numbers += [float(score)] if self._has_scores else []
            lines.append(" ".join([str(int(class_id) - 1), *(f"{number:.6f}" for number in numbers)]))
        (folder / "labels").mkdir(exist_ok=True)
        fileio.write_file(folder / "labels" / f"{detected.stem}.txt", "".join(f"{line}\n" for line in lines))

    def close(self, folder: Path) -> None:
        """Writes the class names, line i for index i."""
        ids = range(1, max(self._label_map, default=0) + 1)
        (folder / "labels").mkdir(exist_ok=True)
        names = "".join(f"{class_name(class_id, self._label_map)}\n" for class_id in ids)
        fileio.write_file(folder / "labels" / "classes.txt", names)


class VocSink:
    """annotations/<image>.xml in Pascal VOC format, as initial annotations."""

    def __init__(self, label_map: Mapping[int, str]) -> None:
        self._label_map = label_map

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns an XML file per image."""
        return [f"annotations/{each.stem}.xml" for each in images]

    def write(self, folder: Path, detected: Detected) -> None:
        """Writes the annotation of one image; pixels are counted from 1, as in VOC."""
        height, width = detected.image.shape[:2]
        root = ET.Element("annotation")
        _children(root, filename=detected.path.name)
        _children(ET.SubElement(root, "size"), width=width, height=height, depth=3)
        for box, score, class_id in detected.shown.rows():
            name = class_name(int(class_id), self._label_map)
            # A name may contain characters that XML forbids, such as control characters.
            name = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", name)
            element = ET.SubElement(root, "object")
            _children(element, name=name, truncated=0, difficult=0, score=f"{float(score):.6f}")
            y0, x0, y1, x1 = (round(float(side), 3) for side in box)
            _children(ET.SubElement(element, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
        ET.indent(root)
        (folder / "annotations").mkdir(exist_ok=True)
        text = ET.tostring(root, encoding="unicode")
        fileio.write_file(folder / "annotations" / f"{detected.stem}.xml", f"{text}\n")

    def close(self, folder: Path) -> None:
        """Does nothing."""


def _children(element: ET.Element, **values: object) -> None:
    for name, value in values.items():
        ET.SubElement(element, name).text = str(value)


class CsvSink:
    """detections.csv: one line per detection, boxes in pixels of the image."""

    FIELDS = ("image", "width", "height", "class_id", "class_name", "score", "x0", "y0", "x1", "y1")

    def __init__(self, label_map: Mapping[int, str]) -> None:
        self._label_map = label_map
        self._lines: list[list[Any]] = []

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns the name of the one file."""
        del images
        return ["detections.csv"]

    def write(self, folder: Path, detected: Detected) -> None:
        """Adds the lines of an image."""
        del folder
        height, width = detected.image.shape[:2]
        for box, score, class_id in detected.shown.rows():
            y0, x0, y1, x1 = (round(float(side), 3) for side in box)
            name = class_name(int(class_id), self._label_map)
            start = [str(detected.path), width, height, int(class_id), name, round(float(score), 6)]
            self._lines.append([*start, x0, y0, x1, y1])

    def close(self, folder: Path) -> None:
        """Writes the header and all lines."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.FIELDS, *self._lines])
        fileio.write_file(folder / "detections.csv", text.getvalue())


class DrawnSink:
    """Images with drawn detections, under their own names.

    Args:
      draw: from an image and its detections to the drawn image.
    """

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns the drawn images."""
        return [each.name for each in images]

    def write(self, folder: Path, detected: Detected) -> None:
        """Draws one image."""
        write_image(folder / detected.name, self._draw(detected.image, detected.shown))

    def close(self, folder: Path) -> None:
        """Does nothing."""


class CropSink:
    """crops/<image>_<number>_<class>.jpg: the crop of each detection, best first.

    Their number is known only after detection, so the folder crops/ has its own
    list of files; crops of an earlier call that are not made again are deleted.

    Args:
      margin: added on each side, as a fraction of the box's side.
      option: option that names the folder, for messages.
    """

    _EVERY = 50

    def __init__(self, label_map: Mapping[int, str], *, margin: float = 0.0, option: str = "output_image_dir") -> None:
        self._label_map, self._margin, self._option = label_map, margin, option
        self._earlier: set[str] | None = None
        self._made: list[str] = []
        self._num_images = 0

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns nothing: names are checked when crops are written."""
        del images
        return []

    def write(self, folder: Path, detected: Detected) -> None:
        """Writes the crops of one image."""
        crops = folder / "crops"
        names = [
            f"{detected.stem}_{number:03d}_{_safe(class_name(int(class_id), self._label_map))}.jpg"
            for number, class_id in enumerate(detected.shown.class_ids)
        ]
        earlier = check_output_files(crops, names, option=self._option, known=self._made)
        self._earlier = earlier if self._earlier is None else self._earlier
        self._made += names
        if self._num_images % self._EVERY == 0:
            note_output_files(crops, self._made, self._earlier)
        self._num_images += 1
        for name, box in zip(names, detected.shown.boxes, strict=True):
            write_image(crops / name, _cropped(detected.image, box, self._margin))

    def close(self, folder: Path) -> None:
        """Deletes crops of an earlier call, and completes the list."""
        crops = folder / "crops"
        for name in (self._earlier or set()) - set(self._made):
            (crops / name).unlink(missing_ok=True)
        note_output_files(crops, self._made, ())


def _cropped(image: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    height, width = image.shape[:2]
    more = np.tile((box[2:] - box[:2]) * margin, 2) * [-1, -1, 1, 1]
    y0, x0, y1, x1 = (box + more).tolist()
    top, left = max(0, int(np.floor(y0))), max(0, int(np.floor(x0)))
    bottom, right = min(height, int(np.ceil(y1))), min(width, int(np.ceil(x1)))
    return image[top:bottom, left:right]


def _safe(name: str) -> str:
    """Returns a class name as part of a file name."""
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:40] or "class"


FRAME_RESULTS = ("images", "json", "coco", "csv", "crops")
"""Formats for video frames, whose number is not known beforehand; images: one drawn video."""


def build_sinks(
    names: Sequence[str], label_map: Mapping[int, str], draw: Draw, *, is_video: bool = False
) -> list[Sink]:
    """Returns the sinks of the given formats.

    Args:
      names: of `options.infer.RESULTS`.
      label_map: class id to name.
      draw: from an image and its detections to the drawn image.
      is_video: whether the images are frames; drawn frames are written as a video elsewhere.

    Raises:
      OptionsError: a format is not available for video frames.
    """
    wrong = [name for name in names if is_video and name not in FRAME_RESULTS]
    if wrong:
        raise OptionsError(
            f"results of a video must be one or more of {', '.join(FRAME_RESULTS)}. Received {wrong[0]!r}, which needs "
            "image files; leave it out, or pass the frames as image files.",
            option="results",
        )
    builders: dict[str, Callable[[], Sink]] = {
        "images": lambda: DrawnSink(draw),
        "json": lambda: JsonSink(label_map),
        "coco": lambda: JsonSink(label_map, is_coco=True),
        "yolo": lambda: YoloSink(label_map),
        "voc": lambda: VocSink(label_map),
        "csv": lambda: CsvSink(label_map),
        "crops": lambda: CropSink(label_map),
    }
    return [builders[name]() for name in RESULTS if name in names and not (is_video and name == "images")]
