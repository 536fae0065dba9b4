"""Flags and layouts of google/automl's dataset converters."""

import dataclasses
import glob
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tfrmod import fileio, publish
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.archive import folder_fingerprint
from tfrmod.convert import ConvertOptions, convert
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.fileio import waiting_lock
from tfrmod.manifest import FILE_NAME, Manifest
from tfrmod.sources.json_stream import pieces
from tfrmod.sources.voc_layout import names_in_list
from tfrmod.tfrecord_io import read_records, shard_name
from tfrmod.validate import Progress
from tfrmod.workers import Executor


def convert_to_prefix(
    gather: Callable[[Path], None],
    prefix: Path,
    options: ConvertOptions,
    *,
    writes_truth: bool = False,
    on_progress: Progress | None = None,
    workers: Executor | None = None,
) -> Manifest:
    """Returns the manifest of `<prefix>-00000-of-00010.tfrecord` and so on, which are created if they do not exist.

    The manifest, `<prefix>-manifest.json`, is written before the files are moved
    into place: the conversion is complete if all files of the manifest exist.

    Args:
      gather: puts the images and annotations into an empty folder.
      prefix: folder and prefix of the file names.
      options: of the conversion; all images go into one split.
      writes_truth: also write `json_<name>.json`, the boxes in COCO's format.
      on_progress: see `convert`.
      workers: see `convert`.

    Raises:
      DatasetError: as in `convert`; or unknown files have the names of shards.
      OSError: the disk is full or not writable.
    """
    work = prefix.with_name(f".{prefix.name}.conversion")
    options = dataclasses.replace(options, train_valid_split=1.0, test_split=0.0, image_sets=False)
    with waiting_lock(prefix):
        images = work / "images"
        shutil.rmtree(images, ignore_errors=True)
        images.mkdir(parents=True)
        try:
            gather(images)
            made = publish.finished_manifest(manifest_path(prefix), folder_fingerprint(images), options.shaping())
            if made is None:
                _check_unknown_files(prefix)
                made = convert(images, work / "shards", options, on_progress=on_progress, workers=workers)
                made = _publish_shards(made, prefix, writes_truth=writes_truth)
        except DatasetError:
            shutil.rmtree(work)  # It serves to continue after a kill, and the conversion is complete.
            raise
        shutil.rmtree(work)
    return made


def manifest_path(prefix: Path) -> Path:
    """Returns the path of the manifest of a prefix."""
    return prefix.with_name(f"{prefix.name}-{FILE_NAME}")


def problems_path(prefix: Path) -> Path:
    """Returns the path of the problem list of a prefix."""
    return prefix.with_name(f"{prefix.name}-{publish.PROBLEMS_FILE}")


def _truth_path(prefix: Path) -> Path:
    return prefix.with_name(f"json_{prefix.name}.json")


def coco_truth(images: Iterable[AnnotatedImage], label_map: Mapping[int, str]) -> dict[str, Any]:
    """Returns the boxes of records in COCO's format, with automl's fields.

    Images have the ids of the records (source_id), by which automl's evaluation
    refers to them.
    """
    truth: dict[str, Any] = {"images": [], "type": "instances", "annotations": [], "categories": []}
    for image in images:
        image_id = int(image.source_id) if image.source_id.isdecimal() else image.source_id
        name = Path(image.filename).name
        truth["images"].append({"file_name": name, "height": image.height, "width": image.width, "id": image_id})
        for obj in image.objects:
            y0, x0, y1, x1 = (round(side, 3) for side in obj.box)
            annotation = {
                "id": len(truth["annotations"]) + 1,
                "image_id": image_id,
                "category_id": obj.class_id,
                "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
                "area": round(obj.area, 3),
                "iscrowd": int(obj.is_crowd),
                "ignore": 0,
                "segmentation": [],
            }
            truth["annotations"].append(annotation)
    names = {0: "background", **label_map}
    truth["categories"] = [{"supercategory": "none", "id": number, "name": name} for number, name in names.items()]
    return truth


def _check_unknown_files(prefix: Path) -> None:
    known = _known_files(prefix)
    found = sorted(path.name for path in prefix.parent.glob(f"{glob.escape(prefix.name)}-?????-of-?????.tfrecord"))
    unknown = [name for name in found if name not in known]
    if not known:
        others = (manifest_path(prefix), problems_path(prefix), _truth_path(prefix))
        unknown += [path.name for path in others if path.exists()]
    if unknown:
        raise DatasetError(
            f"{prefix.parent} has {counted(len(unknown), 'file')} with that prefix in no manifest ({unknown[0]} for "
            "one); the new files would mix with them or replace them. Move them away, or choose another prefix."
        )


def _known_files(prefix: Path) -> set[str]:
    try:
        splits = Manifest.load(manifest_path(prefix)).splits.values()
    except DatasetError:
        return set()
    return {shard.name for split in splits for shard in split.files}


def _publish_shards(made: Manifest, prefix: Path, *, writes_truth: bool) -> Manifest:
    """Moves the shards to their final paths, and returns the manifest with their new names."""
    (split,) = made.splits.values()
    new_names = [shard_name(prefix.name, index, len(split.files)) for index in range(len(split.files))]
    renamed = tuple(dataclasses.replace(shard, name=name) for shard, name in zip(split.files, new_names, strict=True))
    placed = dataclasses.replace(
        made, splits={prefix.name: dataclasses.replace(split, files=renamed)}, folder=prefix.parent
    )
    for name in _known_files(prefix):
        (prefix.parent / name).unlink(missing_ok=True)
    # First, so that the files of a killed call are not unknown to the next one.
    placed.save(manifest_path(prefix))
    if writes_truth:
        images = _images(made.folder / shard.name for shard in split.files)
        fileio.write_file(_truth_path(prefix), json.dumps(coco_truth(images, made.label_map)))
    for shard, name in zip(split.files, new_names, strict=True):
        (made.folder / shard.name).replace(prefix.with_name(name))
    (made.folder / publish.PROBLEMS_FILE).replace(problems_path(prefix))
    return placed


def _images(paths: Iterable[Path]) -> Iterator[AnnotatedImage]:
    for path in paths:
        for record in read_records(path):
            yield dataclasses.replace(decode_example(record), encoded=b"")


def gather_voc(
    data_dir: Path,
    destination: Path,
    *,
    years: Sequence[str],
    set_name: str,
    annotations_dir: str = "Annotations",
    max_images: int | None = None,
) -> list[str]:
    """Links the images of a list and their XML files, and returns the names without both.

    Args:
      data_dir: has a folder for each year; or, without years, ImageSets somewhere.
      destination: an empty folder.
      years: folders below `data_dir`, for example VOC2007 and VOC2012.
      set_name: name of the list in ImageSets/Main, or the suffix of its name (aeroplane_train).
      annotations_dir: folder of the XML files, next to ImageSets.
      max_images: take only the first images of each list; None takes all.

    Raises:
      DatasetError: the folder or list does not exist.
    """
    missing = []
    for root in _voc_roots(data_dir, years):
        images = {path.stem: path for path in sorted((root / "JPEGImages").glob("*"))}
        for name in names_in_list(_set_list(root, set_name), images)[:max_images]:
            stem = PurePosixPath(name).stem if name not in images else name
            annotation = root / annotations_dir / f"{stem}.xml"
            found = [path for path in (images.get(stem), annotation) if path is not None and path.is_file()]
            for path in found:
                _link(path, destination / root.name / path.parent.name / path.name)
            if not found:
                missing.append(name)
    return missing


def gather_coco(image_dir: Path, annotations: Path, destination: Path) -> None:
    """Links a COCO file and those of its images that exist.

    Raises:
      DatasetError: the file or folder does not exist, or the file is not a JSON object.
    """
    for flag, path in (("--image_dir", image_dir), ("the file of annotations", annotations)):
        if not path.exists():
            raise DatasetError(f"{path} ({flag}) does not exist. Check the path.", missing=True)
    _link(annotations, destination / "annotations.json")
    for name in _listed_images(annotations):
        image = image_dir / name
        if image.is_file():
            _link(image, destination / "images" / name)


def _listed_images(annotations: Path) -> Iterator[str]:
    for piece in pieces(annotations):
        name = piece.value.get("file_name") if piece.key == "images" and isinstance(piece.value, dict) else None
        if isinstance(name, str) and name and not name.startswith("/") and ".." not in name.split("/"):
            yield name


def _voc_roots(data_dir: Path, years: Sequence[str]) -> list[Path]:
    """Returns the folders with ImageSets/Main."""
    if not data_dir.is_dir():
        raise DatasetError(f"{data_dir} (--data_dir) is not a folder. Check the path.", missing=True)
    found = sorted(path.parents[1] for path in data_dir.glob("**/ImageSets/Main"))
    roots = [path for path in found if not years or path.name in years]
    lacking = sorted(set(years) - {path.name for path in roots})
    if lacking or not roots:
        wanted = " and ".join(f"{year}/ImageSets/Main" for year in lacking) or "ImageSets/Main"
        there = ", ".join(path.relative_to(data_dir).as_posix() for path in found) or "none"
        raise DatasetError(
            f"A list of images was expected in {wanted} below {data_dir} (--data_dir, --year). Folders with lists "
            f"there: {there}. Without --set and --year, the whole folder is converted.",
            missing=True,
        )
    return roots


def _set_list(root: Path, set_name: str) -> Path:
    folder = root / "ImageSets" / "Main"
    plain = folder / f"{set_name}.txt"
    if plain.is_file():
        return plain
    of_classes = sorted(folder.glob(f"*_{set_name}.txt"))  # Each names all images of the set, with -1, 0 or 1.
    if of_classes:
        return of_classes[0]
    names = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))[:10]) or "none"
    raise DatasetError(f"The list {plain} (--set={set_name}) does not exist. Existing lists: {names}.", missing=True)


def _link(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.exists():
        return
    try:
        os.symlink(path.resolve(), place)
    except OSError:  # On Windows, creating a link needs administrator rights.
        shutil.copyfile(path, place)
