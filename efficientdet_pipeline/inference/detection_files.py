"""JSON files of the detections of many images: this program's own form, and COCO's list of results."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfrmod import fileio


class RecordSpool:
    """`image_record`s in a temporary file: those of a long video would not fit into memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a record at the end."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(record) + "\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields the records, as often as they are needed."""
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)

    def close(self) -> None:
        """Deletes the file."""
        self._file.close()

    def __del__(self) -> None:
        """Deletes the file of an interrupted call."""
        self._file.close()


def coco_results(records: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields `image_record`s as the entries of COCO's result list, which pycocotools' `loadRes` reads.

    Args:
      records: read twice.

    `image_id` is the file's name without its suffix, as an integer if it is
    numeric (000000397133.jpg → 397133), or the path if two images share it.
    `bbox` is x, y, width, height in pixels of the image.
    """
    ids = [_image_id(str(record["image"])) for record in records]
    shared = {each for each, count in Counter(ids).items() if count > 1}
    for image_id, record in zip(ids, records, strict=True):
        for each in record["detections"]:
            yield {
                "image_id": str(record["image"]) if image_id in shared else image_id,
                "file_name": str(record["image"]),
                "category_id": each["class_id"],
                "bbox": _xywh(each["box"]),
                "score": each["score"],
            }


def _image_id(path: str) -> int | str:
    stem = Path(path).stem
    return int(stem) if stem.isascii() and stem.isdecimal() else stem


def _xywh(box: Mapping[str, float]) -> list[float]:
    x0, y0, x1, y1 = (box[side] for side in ("x0", "y0", "x1", "y1"))
    return [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)]


def write_coco_results(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes the `coco_results` of `image_record`s, which are read twice, atomically."""
    fileio.write_file(Path(path), _json_list(coco_results(records)))


def _json_list(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the parts of `json.dumps(list(items), indent=1, ensure_ascii=False)` and a line end."""
    start = "[\n "
    for item in items:
        yield start + json.dumps(item, indent=1, ensure_ascii=False).replace("\n", "\n ")
        start = ",\n "
    yield "[]\n" if start.startswith("[") else "\n]\n"


def read_detections_json(path: str | Path) -> list[dict[str, Any]]:
    """Returns the records of a detections file; empty if the file does not exist."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    fields = {"image": str, "width": int, "height": int, "detections": list}
    is_ours = isinstance(content, list) and all(
        isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in fields.items())
        for record in content
    )
    return content if is_ours else []


def write_detections_json(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes a JSON list of `image_record`s, atomically."""
    fileio.write_file(Path(path), _json_list(records))
