"""Shard manifest: content, checksums, and the hyper-parameters that follow from the data."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from tfrmod import fileio
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.patterns import escape_path, matching_files
from tfrmod.problems import ProblemCount
from tfrmod.tfrecord_io import ShardInfo, read_records, scan_records

SPLITS = ("train", "val", "test")

FILE_NAME = "manifest.json"
VERSION = 2
CONVERTER = "4"
"""Version of the conversion; changes if the same images and options would give other bytes."""


@dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """Content of one split (train, val, test)."""

    files: tuple[ShardInfo, ...]
    num_images: int
    num_boxes: int
    num_negatives: int
    """Images without any object."""
    boxes_per_class: dict[str, int]
    images_per_class: dict[str, int] = field(default_factory=dict)
    """Images with at least one object of the class."""

    @property
    def num_bytes(self) -> int:
        """Returns the total size of its files."""
        return sum(shard.num_bytes for shard in self.files)


@dataclass(frozen=True, kw_only=True)
class ImageSizes:
    """Statistics of the image sizes, in pixels."""

    median_height: int = 0
    median_width: int = 0
    min_height: int = 0
    min_width: int = 0
    max_height: int = 0
    max_width: int = 0


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Summary of a converted dataset, which training reads instead of the shards."""

    source: str
    """Fingerprint of the images and annotations of the dataset."""
    options: dict[str, Any]
    """The options of the conversion that affect the shards."""
    label_map: dict[int, str]
    splits: dict[str, SplitInfo]
    max_instances_per_image: int
    """Largest number of objects on an image."""
    image_sizes: ImageSizes = ImageSizes()
    problems: dict[str, ProblemCount] = field(default_factory=dict)
    """By code (see `problems.CODES`); problems.jsonl has the full list."""
    has_masks: bool = False
    """Whether any record has masks, of objects or of classes."""
    converter: str = CONVERTER
    version: int = VERSION
    folder: Path = field(default=Path(), compare=False)
    """Folder of the shards; not part of the file."""

    @property
    def num_classes(self) -> int:
        """Returns the largest class id, which is the number of classes of the network."""
        return max(self.label_map, default=0)

    def pattern(self, split: str) -> str:
        """Returns the glob of a split's shards, for example records/train-*-of-00004.tfrecord.

        Special characters of globs in the folder's name are escaped, so that the glob matches only these shards.
        """
        return f"{escape_path(self.folder / split)}-*-of-{len(self.splits[split].files):05d}.tfrecord"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Returns the manifest in a file, or in a folder's manifest.json.

        Raises:
          DatasetError: it does not exist, or is not a manifest of this version.
        """
        path = path / FILE_NAME if path.is_dir() else path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                raise DatasetError(
                    f"{path} is a manifest of version {content['version']}, and this program reads version {VERSION}. "
                    "Convert the dataset again."
                )
            return cls(folder=path.parent, **_from_json(content))
        except FileNotFoundError as error:
            raise DatasetError(f"There is no manifest {path}; the conversion writes it last.", missing=True) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{path} is not a manifest of this program ({error}). Delete the folder and convert the dataset again."
            ) from error

    def save(self, path: Path) -> None:
        """Writes the manifest, atomically."""
        content = dataclasses.asdict(self)
        del content["folder"]
        fileio.write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def verify(self, *, contents: bool = True) -> None:
        """Checks that all shards exist as they were written.

        Args:
          contents: whether to compare hashes too, which reads every byte, or only sizes.

        Raises:
          DatasetError: files are missing or differ; the message names them.
        """
        shards = (shard for split in self.splits.values() for shard in split.files)
        bad = [fault for shard in shards if (fault := shard_fault(self.folder, shard, contents=contents))]
        if bad:
            raise DatasetError(
                f"The shards in {self.folder} are not those of their manifest: {'; '.join(bad)}. "
                "Convert the dataset again."
            )


class RecordedImage(NamedTuple):
    """Metadata of a recorded image, without its objects."""

    source_id: str
    filename: str
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class ShardCounts:
    """Statistics of shards without a manifest, such as google/automl's."""

    files: tuple[Path, ...]
    num_images: int
    num_boxes: int
    num_negatives: int
    boxes_per_class: dict[str, int]
    label_map: dict[int, str]
    max_instances_per_image: int
    recorded_names: dict[int, str] = field(default_factory=dict)
    """Names in the records, of the classes with boxes."""
    num_crowd: int = 0
    """Number of boxes that mark a crowd."""
    images: tuple[RecordedImage, ...] = ()
    """In the order of the files."""

    @property
    def num_classes(self) -> int:
        """Returns the largest class id that occurs."""
        return max(self.label_map, default=0)


def count_shards(pattern: str) -> ShardCounts:
    """Returns statistics of the shards of a pattern; reads every record once.

    A class without a name in the records is named by its id.

    Args:
      pattern: globs, separated by commas.

    Raises:
      DatasetError: a glob matches nothing (with similar names), a file is
        damaged, or one class id has two names.
    """
    return count_files(shard_files(pattern))


def count_files(files: Sequence[Path]) -> ShardCounts:
    """Returns statistics of shards; see `count_shards`."""
    images: list[RecordedImage] = []
    num_crowd = 0
    names: dict[int, str] = {}
    boxes: Counter[int] = Counter()
    num_images = num_negatives = fullest = 0
    for file in files:
        for number, record in enumerate(read_records(file)):
            try:
                image = decode_example(record)
            except DatasetError as error:
                raise DatasetError(f"{file}, record {number}: {error}") from error
            objects = image.objects
            images.append(RecordedImage(image.source_id, image.filename, image.height, image.width))
            num_crowd += sum(obj.is_crowd for obj in objects)
            num_images += 1
            num_negatives += not objects
            fullest = max(fullest, len(objects))
            boxes.update(obj.class_id for obj in objects)
            for obj in objects:
                if obj.name and names.setdefault(obj.class_id, obj.name) != obj.name:
                    raise DatasetError(
                        f"The class id {obj.class_id} is {names[obj.class_id]!r} in some records and "
                        f"{obj.name!r} in record {number} of {file}. Are these shards of two datasets? Convert them "
                        "together, with one --label_map."
                    )
    label_map = {class_id: names.get(class_id, str(class_id)) for class_id in sorted(boxes)}
    return ShardCounts(
        files=tuple(files),
        num_images=num_images,
        num_boxes=boxes.total(),
        num_negatives=num_negatives,
        boxes_per_class={name: boxes[class_id] for class_id, name in label_map.items()},
        label_map=label_map,
        max_instances_per_image=fullest,
        recorded_names=names,
        num_crowd=num_crowd,
        images=tuple(images),
    )


def has_boxes_to_learn(files: Sequence[Path]) -> bool:
    """Returns whether any box marks a single object and not a crowd; reads the records up to the first one."""
    records = (record for file in files for record in read_records(file))
    return any(not obj.is_crowd for record in records for obj in decode_example(record).objects)


# Written beside shards by a conversion: train* also matches train.txt.
_NO_SHARDS = (".txt", ".json", ".jsonl", ".yaml")


def shard_files(pattern: str, *, source: str = "") -> tuple[Path, ...]:
    """Returns the files that a pattern (globs, separated by commas) matches, sorted, without duplicates.

    Raises:
      DatasetError: one of the globs matches no file, which names `source`, or is ambiguous.
    """
    files = matching_files(pattern, source=source)
    return tuple(file for file in files if file.suffix not in _NO_SHARDS) or files


def shard_fault(folder: Path, shard: ShardInfo, *, contents: bool = True) -> str:
    """Returns how a shard differs from its manifest entry; empty if it does not.

    Args:
      folder: expected location.
      shard: entry of the manifest.
      contents: whether to compare hashes too, which reads every byte.
    """
    path = folder / shard.name
    if not path.is_file():
        return f"{shard.name} is missing"
    if path.stat().st_size != shard.num_bytes:
        return f"{shard.name} has {path.stat().st_size} bytes instead of {shard.num_bytes}"
    if not contents or fileio.sha256_of(path) == shard.sha256:
        return ""
    for number, record in enumerate(scan_records(path)):
        if record.fault:
            return f"{shard.name} has other content: in record {number}, at byte {record.offset}, {record.fault}"
    return f"{shard.name} has other content, though the checksums of its records are correct"


def _from_json(content: dict[str, Any]) -> dict[str, Any]:
    splits = {
        name: SplitInfo(**{**split, "files": tuple(ShardInfo(**shard) for shard in split["files"])})
        for name, split in content["splits"].items()
    }
    return {
        **content,
        "label_map": {int(class_id): name for class_id, name in content["label_map"].items()},
        "splits": splits,
        "image_sizes": ImageSizes(**content["image_sizes"]),
        "problems": {
            code: ProblemCount(problem["count"], tuple(problem["files"]))
            for code, problem in content["problems"].items()
        },
    }


HPARAMS_FILE_NAME = "hparams_config.yaml"


def max_instances(fullest: int) -> int:
    """Returns `max_instances_per_image` with room above the largest number of objects.

    automl's default of 100 if that suffices; its reader requires strictly more
    than there are.
    """
    return max(100, 50 * (fullest // 50 + 1))


def write_hparams_config(path: Path, manifest: Manifest) -> None:
    """Writes the file for --hparams, with the four keys that follow from the data."""
    content: dict[str, Any] = {
        "num_classes": manifest.num_classes,
        "label_map": dict(manifest.label_map),
        "max_instances_per_image": max_instances(manifest.max_instances_per_image),
    }
    if manifest.options.get("image_size"):
        content["image_size"] = manifest.options["image_size"]
    fileio.write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
