"""Output formats of detections: JSON, COCO results, YOLO txt, VOC XML, CSV, crops and drawn images, in one folder.

Each sink names its files before the first detection, and the writer refuses a
folder that contains other files of these names.
"""

import csv
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.annotation_sinks import CropSink, VocSink, YoloSink
from efficientdet_pipeline.inference.detected import Detected, Sink, planned, safe_name
from efficientdet_pipeline.inference.detection_files import RecordSpool, write_coco_results, write_detections_json
from efficientdet_pipeline.inference.image_io import output_names, write_image
from efficientdet_pipeline.inference.results import ImageDetections, class_name, image_record
from efficientdet_pipeline.inference.thresholds import Thresholds
from efficientdet_pipeline.options.infer import RESULTS
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files
from tfrmod import fileio

Draw = Callable[[np.ndarray, ImageDetections], np.ndarray]
"""From an image and its detections to the drawn image."""


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
        known_images = [planned(path, name, stem) for path, name, stem in zip(images, names, stems, strict=True)]
        self._planned = {each.path: each for each in known_images}
        places = {folder.resolve(), folder.resolve() / "crops"}
        own = [each for each in images if each.parent.resolve() in places]
        if own:
            raise OptionsError(
                f"{option} must be another folder than that of the images, which could be overwritten. Received "
                f"{folder}, which contains {own[0]}; try {folder / 'detections'}.",
                option=option,
            )
        files = [name for sink in sinks for name in sink.names(known_images)]
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
        stem = f"{safe_name(Path(name).stem)}_{number:06d}"
        self._write(planned(Path(f"{name}#{number}"), f"{stem}.jpg", stem), image, found)

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


_CLASSES = "classes"
"""Stem of YOLO's list of class names, which no image may have."""


def _unique_stems(images: Sequence[Path]) -> list[str]:
    taken = {_CLASSES}
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
        self._records = RecordSpool()

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns the name of the one file."""
        del images
        return ["detections_coco.json" if self._is_coco else "detections.json"]

    def write(self, folder: Path, detected: Detected) -> None:
        """Adds the record of an image."""
        del folder
        size = (detected.image.shape[0], detected.image.shape[1])
        self._records.add(image_record(detected.path, size, detected.found, self._label_map))

    def close(self, folder: Path) -> None:
        """Writes all records."""
        write = write_coco_results if self._is_coco else write_detections_json
        write(folder / self.names([])[0], self._records)
        self._records.close()


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


def build_sinks(
    names: Sequence[str], label_map: Mapping[int, str], draw: Draw, *, is_video: bool = False
) -> list[Sink]:
    """Returns the sinks of the given formats.

    Args:
      names: of `options.infer.RESULTS`.
      label_map: class id to name.
      draw: from an image and its detections to the drawn image.
      is_video: whether the images are frames; drawn frames are written as a video elsewhere.
    """
    builders: dict[str, Callable[[], Sink]] = {
        "images": lambda: DrawnSink(draw),
        "json": lambda: JsonSink(label_map),
        "coco": lambda: JsonSink(label_map, is_coco=True),
        "yolo": lambda: YoloSink(label_map, is_video=is_video),
        "voc": lambda: VocSink(label_map, is_video=is_video),
        "csv": lambda: CsvSink(label_map),
        "crops": lambda: CropSink(label_map),
    }
    return [builders[name]() for name in RESULTS if name in names and not (is_video and name == "images")]
