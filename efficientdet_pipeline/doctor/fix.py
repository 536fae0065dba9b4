"""Corrected copy of a data set, as Pascal VOC; the original is only read."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from lxml import etree

from efficientdet_pipeline.doctor.boxes import duplicate_boxes
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats
from efficientdet_pipeline.errors import OptionsError
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.replacement import replace_files

LABEL_MAP = "label_map.yaml"
_LEAST_LEFT = 0.5  # Of the validation and test images.
_EXTENSIONS = {"jpeg": "jpg", "png": "png"}


@dataclass(frozen=True, kw_only=True)
class FixedDataset:
    """Contents of a corrected copy, and the corrections."""

    num_images: int
    num_boxes: int
    num_left_out: int
    """Images that cannot be used."""
    num_boxes_dropped: int
    """Duplicated boxes, and crowd boxes, which Pascal VOC cannot express."""
    num_moved: int
    """Images moved from validation to training, because a near-duplicate is there."""
    num_alike_kept: int = 0
    """Near-duplicates of training images that stayed, because too few validation images would be left."""


def check_output_folder(target: Path, original: Path | None = None) -> None:
    """Checks that a corrected copy may be written to `target`.

    Raises:
      OptionsError: `target` is not empty, or lies within the original.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OptionsError(
            f"fix must name a folder that is empty or not there yet. Received {str(target)!r}, which is neither; "
            "try another name.",
            option="fix",
        )
    if original is not None and target.resolve().is_relative_to(original.resolve()):
        raise OptionsError(
            f"fix must lie outside the images, or the copy would be read with them. Received {str(target)!r} within "
            f"{original}; try a folder beside it.",
            option="fix",
        )


def write_fixed_dataset(stats: DatasetStats, target: Path) -> FixedDataset:
    """Writes the usable images with their corrected boxes, atomically.

    Images are upright and in the format of their file extension; boxes are clipped
    to the image, with corners in order; near-duplicates are in the same split. The
    data set's own lists are kept, and its class ids, as label_map.yaml.

    Args:
      stats: of images whose files still lie at `AnnotatedImage.path`.
      target: a folder that is empty or does not exist yet.

    Raises:
      OptionsError: the folder is neither.
      OSError: no space or no permission; no incomplete files are left.
    """
    check_output_folder(target)
    with_unlisted = replace(stats, splits={**stats.splits, "": stats.unlisted})
    sides, num_alike_kept = _sides(stats)
    kept = _kept(with_unlisted, set(duplicate_boxes(with_unlisted)[0]))
    names = _names(kept)

    def write(copy: Path) -> None:
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (copy / folder).mkdir(parents=True)
        for image, name in zip(kept, names, strict=True):
            _write_image(copy, image, name)
        for split, images in _lists(stats, sides).items():
            members = [
                f"{Path(name).stem}\n" for image, name in zip(kept, names, strict=True) if image.filename in images
            ]
            (copy / "ImageSets/Main" / f"{split}.txt").write_text("".join(sorted(members)), encoding="utf-8")
        if stats.label_map:
            ids = yaml.safe_dump(dict(stats.label_map), allow_unicode=True)
            (copy / LABEL_MAP).write_text(ids, encoding="utf-8")

    # A rename is not enough: the empty folder may be a mount point, a link or the current folder.
    replace_files(target, write, earlier=())
    num_boxes = sum(len(image.objects) for image in kept)
    return FixedDataset(
        num_images=len(kept),
        num_boxes=num_boxes,
        num_left_out=stats.num_files - len(kept),
        num_boxes_dropped=len(with_unlisted.boxes.name) - num_boxes,
        num_moved=sum(new != old for new, old in zip(sides, stats.split_of, strict=True)),
        num_alike_kept=num_alike_kept,
    )


def _kept(stats: DatasetStats, doubled: set[int]) -> list[AnnotatedImage]:
    """Returns the images with the objects that the copy keeps."""
    kept, number = [], 0
    for seen in stats.images:
        objects = []
        for obj in seen.image.objects:
            if number not in doubled and not obj.is_crowd:
                objects.append(obj)
            number += 1
        kept.append(replace(seen.image, objects=tuple(objects)))
    return kept


def _sides(stats: DatasetStats) -> tuple[list[str], int]:
    """Returns the split of each image, training if a near-duplicate is there, and how many stay nevertheless.

    Near-duplicates stay if moving them would take more than half of the
    validation images: metrics of the rest would mean little.
    """
    certain = _moved(stats.split_of, stats.equal_groups)
    sides = _moved(certain, stats.alike_groups)
    num_left = sum(side != "train" for side in sides)
    if num_left < _LEAST_LEFT * sum(side != "train" for side in stats.split_of):
        num_alike = sum(side != "train" for side in certain) - num_left
        if num_alike:
            return certain, num_alike
    return sides, 0


def _moved(sides: Sequence[str], groups: Sequence[Sequence[int]]) -> list[str]:
    """Returns the splits; every group with an image in training is moved there as a whole."""
    moved = list(sides)
    for group in groups:
        if any(moved[index] == "train" for index in group):
            for index in group:
                moved[index] = "train"
    return moved


def _lists(stats: DatasetStats, sides: Sequence[str]) -> dict[str, set[str]]:
    """Returns the image names of each list of the copy: the data set's own, corrected, or else the division."""
    division: dict[str, set[str]] = {side: set() for side in sides}
    for seen, side in zip(stats.images, sides, strict=True):
        division[side].add(seen.image.filename)
    lists = {name: set(images) for name, images in stats.lists.items()}
    if stats.chosen_lists is None:
        lists.pop("trainval", None)  # Beside a test list it would be read as the division.
        return {**lists, **division}
    train, val = stats.chosen_lists
    learnt = division.get("train", set())
    lists[train] |= learnt
    if val != train:
        lists[val] -= learnt
    return lists


def _names(images: Sequence[AnnotatedImage]) -> list[str]:
    """Returns a file name for each image: its own with the right extension, numbered if the stem is taken."""
    taken: set[str] = set()
    names = []
    for image in images:
        stem = Path(image.filename).name.rpartition(".")[0] or Path(image.filename).name
        unique, number = stem, 1
        while unique.lower() in taken:  # Some file systems ignore case.
            number += 1
            unique = f"{stem}_{number}"
        taken.add(unique.lower())
        names.append(f"{unique}.{_EXTENSIONS[image.format]}")
    return names


def _write_image(copy: Path, image: AnnotatedImage, name: str) -> None:
    target = copy / "JPEGImages" / name
    shutil.copyfile(os.fspath(image.path or ""), target)
    root = etree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", name)
    size = etree.SubElement(root, "size")
    for key, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        _add(size, key, value)
    for obj in image.objects:
        _add_object(root, obj)
    etree.indent(root)
    annotation = copy / "Annotations" / f"{Path(name).stem}.xml"
    annotation.write_bytes(etree.tostring(root, encoding="utf-8") + b"\n")


def _add_object(root: etree._Element, obj: AnnotatedObject) -> None:
    node = etree.SubElement(root, "object")
    _add(node, "name", obj.name)
    _add(node, "pose", obj.view or "Unspecified")
    _add(node, "truncated", int(obj.truncated))
    _add(node, "difficult", int(obj.difficult))
    box = etree.SubElement(node, "bndbox")
    y0, x0, y1, x1 = obj.box
    for key, side in (("xmin", x0), ("ymin", y0), ("xmax", x1), ("ymax", y1)):
        _add(box, key, f"{side:.6g}" if side < 1e5 else f"{side:.2f}")


def _add(parent: etree._Element, key: str, value: object) -> None:
    etree.SubElement(parent, key).text = str(value)
