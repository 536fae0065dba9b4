"""Conversion of annotated images to TFRecord files in tfdet's schema, distributed round-robin over the files.

The feature keys are those of `tfrmod.example`; class ids start at 0, and there
are no areas and no crowd flags.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfrmod import example as keys
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.exif import UPRIGHT
from tfrmod.image_file import CheckedImage, check_image
from tfrmod.image_headers import ImageError
from tfrmod.tfrecord_io import ShardInfo, write_records

_KEYS = {"image_path", "bboxes", "labels", "masks"}


class _Object(NamedTuple):
    box: tuple[float, float, float, float]
    class_id: int
    name: str
    mask: bytes


def convert_dataset_to_tfrecord(
    datasets: Iterable[Mapping[str, Any]], num_shards: int = 5, output_dir: str | Path = "."
) -> list[ShardInfo]:
    """Writes `%06d-of-%06d.tfrecord` files and returns the content of each.

    `image/format` is the format of the bytes. JPEG and PNG are stored unchanged,
    other formats as PNG or JPEG.

    Args:
      datasets: dicts of image_path, bboxes (lists ymin, xmin, ymax, xmax in
        pixels), labels ({"id": from 0, "name": text}) and optionally masks (PNG
        bytes of each object). Empty lists are images without objects.
      num_shards: number of files, at most the number of images.
      output_dir: created if missing; none of the files may exist.

    Raises:
      DatasetError: an entry is invalid, an image cannot be read, a box is outside
        of its image, or a file exists already.
      OSError: no space or no permission.

    >>> convert_dataset_to_tfrecord([{"image_path": "1.jpg", "bboxes": [[0, 0, 9, 9]],
    ...                               "labels": [{"id": 0, "name": "cat"}]}], 1, "records")
    """
    entries = list(datasets)
    if isinstance(num_shards, bool) or not isinstance(num_shards, int) or not 1 <= num_shards <= len(entries):
        raise DatasetError(f"num_shards must be 1 to {len(entries)}, the number of images. Received {num_shards!r}.")
    folder = Path(output_dir)
    paths = [folder / f"{index:06d}-of-{num_shards:06d}.tfrecord" for index in range(num_shards)]
    for path in paths:
        if path.exists():
            raise DatasetError(f"{path} exists already and is not replaced; give another output_dir.")
    read = [_objects(number, entry) for number, entry in enumerate(entries)]
    folder.mkdir(parents=True, exist_ok=True)
    written: list[ShardInfo] = []
    try:
        for index, path in enumerate(paths):
            written.append(write_records(path, _records(entries[index::num_shards], read[index::num_shards])))
    except BaseException:
        # All files or none: some files of a set would look like a complete set.
        for info in written:
            (folder / info.name).unlink(missing_ok=True)
        raise
    return written


def _records(entries: Sequence[Mapping[str, Any]], objects: Sequence[list[_Object]]) -> Iterator[bytes]:
    for entry, things in zip(entries, objects, strict=True):
        path = Path(entry["image_path"])
        try:
            image = check_image(path.read_bytes())
        except FileNotFoundError:
            raise DatasetError(f"No image {path} (image_path).", missing=True) from None
        except ImageError as error:
            raise DatasetError(f"{path} cannot be used: {error}.") from error
        if image.orientation != UPRIGHT:
            raise DatasetError(
                f"{path} is stored rotated (EXIF orientation {image.orientation}), and it is not known whether its "
                "boxes are those of the upright image; save it upright."
            )
        yield _record(path, image, things)


def _record(path: Path, image: CheckedImage, objects: list[_Object]) -> bytes:
    import hashlib

    example = keys.Example()
    feature = example.features.feature
    for key, value in (
        (keys.ENCODED, image.encoded),
        (keys.FORMAT, image.format.encode()),
        (keys.FILENAME, path.name.encode("utf-8", "surrogateescape")),
        (keys.SHA256, hashlib.sha256(image.encoded).hexdigest().encode()),
    ):
        feature[key].bytes_list.value.append(value)
    feature[keys.HEIGHT].int64_list.value.append(image.height)
    feature[keys.WIDTH].int64_list.value.append(image.width)
    sides = (image.height, image.width, image.height, image.width)
    for thing in objects:
        top, left, bottom, right = thing.box
        # Half a pixel of rounding is accepted.
        if not (-0.5 <= top < bottom <= image.height + 0.5 and -0.5 <= left < right <= image.width + 0.5):
            raise DatasetError(
                f"Boxes must be ymin, xmin, ymax, xmax in pixels of the image, {image.height} high and {image.width} "
                f"wide. Received {list(thing.box)} of {path}; are its corners in another order?"
            )
    for axis, (key, side) in enumerate(zip(keys.BOX, sides, strict=True)):
        feature[key].float_list.value.extend([min(max(thing.box[axis] / side, 0.0), 1.0) for thing in objects])
    feature[keys.LABEL].int64_list.value.extend([thing.class_id for thing in objects])
    feature[keys.TEXT].bytes_list.value.extend([thing.name.encode() for thing in objects])
    if any(thing.mask for thing in objects):
        feature[keys.MASK].bytes_list.value.extend([thing.mask for thing in objects])
    return bytes(example.SerializeToString(deterministic=True))


def _objects(number: int, entry: Mapping[str, Any]) -> list[_Object]:
    """Returns the objects of one entry, after the checks that do not need the image."""
    where = f"Entry {number} of datasets"
    if not isinstance(entry, Mapping) or not {"image_path", "bboxes", "labels"} <= set(entry) <= _KEYS:
        has = sorted(entry) if isinstance(entry, Mapping) else entry
        raise DatasetError(f"{where} must have image_path, bboxes and labels, and may have masks. It has {has!r}.")
    boxes, labels = list(entry["bboxes"]), list(entry["labels"])
    masks = list(entry.get("masks") or [b""] * len(boxes))
    if not len(boxes) == len(labels) == len(masks):
        raise DatasetError(
            f"{where} ({entry['image_path']}) must have one label for each box, and one mask if any. It has "
            f"{counted(len(boxes), 'box')}, {counted(len(labels), 'label')} and {counted(len(masks), 'mask')}."
        )
    objects = []
    for box, label, mask in zip(boxes, labels, masks, strict=True):
        class_id, name = (label.get("id"), label.get("name")) if isinstance(label, Mapping) else (None, None)
        if isinstance(class_id, bool) or not isinstance(class_id, int) or class_id < 0 or not isinstance(name, str):
            raise DatasetError(f"{where}: a label must be {{'id': 0 or more, 'name': text}}. Received {label!r}.")
        try:
            top, left, bottom, right = (float(side) for side in box)
        except (TypeError, ValueError):
            raise DatasetError(f"{where}: a box must be ymin, xmin, ymax, xmax. Received {box!r}.") from None
        objects.append(_Object((top, left, bottom, right), class_id, name, mask))
    return objects
