"""Output formats with files for each image: YOLO txt, VOC XML and crops."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from efficientdet_pipeline.inference.detected import Detected, safe_name
from efficientdet_pipeline.inference.image_io import write_image
from efficientdet_pipeline.inference.results import class_name
from efficientdet_pipeline.runs.growing_output import GrowingOutput
from tfrmod import fileio

_OPTION = "output_image_dir"


class AnnotationFiles:
    """Annotation files in a subfolder, one per image; for frames of a video, whose number is not known, as they come.

    Args:
      subfolder: name of the subfolder.
      suffix: of the files.
      is_video: whether the images are frames.
    """

    def __init__(self, subfolder: str, suffix: str, *, is_video: bool = False) -> None:
        self._subfolder, self._suffix, self._is_video = subfolder, suffix, is_video
        self._growing = GrowingOutput(option=_OPTION)

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns the files of the images, relative to the folder of the results."""
        return [f"{self._subfolder}/{each.stem}{self._suffix}" for each in images]

    def write(self, folder: Path, detected: Detected, text: str) -> None:
        """Writes the file of one image."""
        name = f"{detected.stem}{self._suffix}"
        if self._is_video:
            self._growing.add(folder / self._subfolder, [name])
        (folder / self._subfolder).mkdir(exist_ok=True)
        fileio.write_file(folder / self._subfolder / name, text)

    def close(self, folder: Path) -> None:
        """Deletes the files of frames of an earlier call that were not written again."""
        if self._is_video:
            self._growing.close(folder / self._subfolder)


class YoloSink:
    """labels/<image>.txt: class index from 0, center x, center y, width, height as fractions, and the score."""

    def __init__(self, label_map: Mapping[int, str], *, has_scores: bool = True, is_video: bool = False) -> None:
        self._label_map, self._has_scores = label_map, has_scores
        self._files = AnnotationFiles("labels", ".txt", is_video=is_video)

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns a text file per image, and the file of class names."""
        return ["labels/classes.txt", *self._files.names(images)]

    def write(self, folder: Path, detected: Detected) -> None:
        """Writes the text file of one image."""
        height, width = detected.image.shape[:2]
        lines = []
        for (y0, x0, y1, x1), score, class_id in detected.shown.rows():
            numbers = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
            numbers += [float(score)] if self._has_scores else []
            lines.append(" ".join([str(int(class_id) - 1), *(f"{number:.6f}" for number in numbers)]))
        self._files.write(folder, detected, "".join(f"{line}\n" for line in lines))

    def close(self, folder: Path) -> None:
        """Writes the class names, line i for index i."""
        self._files.close(folder)
        ids = range(1, max(self._label_map, default=0) + 1)
        (folder / "labels").mkdir(exist_ok=True)
        names = "".join(f"{class_name(class_id, self._label_map)}\n" for class_id in ids)
        fileio.write_file(folder / "labels" / "classes.txt", names)


class VocSink:
    """annotations/<image>.xml in Pascal VOC format, as initial annotations."""

    def __init__(self, label_map: Mapping[int, str], *, is_video: bool = False) -> None:
        self._label_map, self._is_video = label_map, is_video
        self._files = AnnotationFiles("annotations", ".xml", is_video=is_video)

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns an XML file per image."""
        return self._files.names(images)

    def write(self, folder: Path, detected: Detected) -> None:
        """Writes the annotation of one image; pixels are counted from 1, as in VOC."""
        height, width = detected.image.shape[:2]
        root = ET.Element("annotation")
        path = detected.path
        # The folder distinguishes images of one name.
        names = {"filename": detected.name} if self._is_video else {"folder": path.parent.name, "filename": path.name}
        _children(root, **names)
        _children(ET.SubElement(root, "size"), width=width, height=height, depth=3)
        for box, score, class_id in detected.shown.rows():
            name = class_name(int(class_id), self._label_map)
            # A name may contain characters that XML forbids, such as control characters.
            name = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", name)
            element = ET.SubElement(root, "object")
            _children(element, name=name, truncated=0, difficult=0, score=f"{float(score):.6f}")
            first = np.round(box[:2] + 1.0, 3)
            # The first and the last pixel: those of a box of less than one pixel are the same.
            (ymin, xmin), (ymax, xmax) = first.tolist(), np.maximum(first, np.round(box[2:], 3)).tolist()
            _children(ET.SubElement(element, "bndbox"), xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax)
        ET.indent(root)
        self._files.write(folder, detected, f"{ET.tostring(root, encoding='unicode')}\n")

    def close(self, folder: Path) -> None:
        """Deletes annotations of frames of an earlier call that were not written again."""
        self._files.close(folder)


def _children(element: ET.Element, **values: object) -> None:
    for name, value in values.items():
        ET.SubElement(element, name).text = str(value)


class CropSink:
    """crops/<image>_<number>_<class>.jpg: the crop of each detection, best first.

    Their number is known only after detection, so the folder crops/ has its own
    list of files; crops of an earlier call that are not made again are deleted.

    Args:
      margin: added on each side, as a fraction of the box's side.
      option: option that names the folder, for messages.
    """

    def __init__(self, label_map: Mapping[int, str], *, margin: float = 0.0, option: str = _OPTION) -> None:
        self._label_map, self._margin = label_map, margin
        self._growing = GrowingOutput(option=option)

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns nothing: names are checked when crops are written."""
        del images
        return []

    def write(self, folder: Path, detected: Detected) -> None:
        """Writes the crops of one image."""
        names = [
            f"{detected.stem}_{number:03d}_{safe_name(class_name(int(class_id), self._label_map))}.jpg"
            for number, class_id in enumerate(detected.shown.class_ids)
        ]
        self._growing.add(folder / "crops", names)
        for name, box in zip(names, detected.shown.boxes, strict=True):
            write_image(folder / "crops" / name, _cropped(detected.image, box, self._margin))

    def close(self, folder: Path) -> None:
        """Deletes crops of an earlier call, and completes the list."""
        self._growing.close(folder / "crops")


def _cropped(image: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    height, width = image.shape[:2]
    more = np.tile((box[2:] - box[:2]) * margin, 2) * [-1, -1, 1, 1]
    y0, x0, y1, x1 = (box + more).tolist()
    top, left = max(0, int(np.floor(y0))), max(0, int(np.floor(x0)))
    bottom, right = min(height, int(np.ceil(y1))), min(width, int(np.ceil(x1)))
    return image[top:bottom, left:right]
