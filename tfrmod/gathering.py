"""The photos and annotations that google/automl's converters are told to take, as a folder of links.

Those converters are given a list of names, or a JSON file and the folder of
its photos; ours is given a folder. So exactly those files are linked into one,
and what converts every other data set converts this one.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tfrmod.errors import DatasetError
from tfrmod.sources.json_pieces import pieces
from tfrmod.sources.voc_sets import names_in_list

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Of the Pascal VOC challenges from 2007 on; ids from 1 follow their order."""


def gather_voc(
    data_dir: Path,
    destination: Path,
    *,
    years: Sequence[str],
    set_name: str,
    annotations_dir: str = "Annotations",
    max_images: int | None = None,
) -> list[str]:
    """Links the photos of a list and their XML files, and returns the names of which neither is there.

    Args:
      data_dir: holds a folder for each year; or, without years, ImageSets somewhere.
      destination: an empty folder.
      years: folders below `data_dir`, for example VOC2007 and VOC2012.
      set_name: of the list in ImageSets/Main, or of the second half of its name (aeroplane_train).
      annotations_dir: folder of the XML files, beside ImageSets.
      max_images: so many of each list, from its beginning; None takes all.

    Raises:
      DatasetError: no such folder or list.
    """
    missing = []
    for root in _voc_roots(data_dir, years):
        photos = {path.stem: path for path in sorted((root / "JPEGImages").glob("*"))}
        for name in names_in_list(_set_list(root, set_name), photos)[:max_images]:
            stem = PurePosixPath(name).stem if name not in photos else name
            annotation = root / annotations_dir / f"{stem}.xml"
            found = [path for path in (photos.get(stem), annotation) if path is not None and path.is_file()]
            for path in found:
                _link(path, destination / root.name / path.parent.name / path.name)
            if not found:
                missing.append(name)
    return missing


def gather_coco(image_dir: Path, annotations: Path, destination: Path) -> None:
    """Links a COCO file and the photos that it lists, where they are there.

    Raises:
      DatasetError: no such file or folder, or the file is no JSON object.
    """
    for flag, path in (("--image_dir", image_dir), ("the file of annotations", annotations)):
        if not path.exists():
            raise DatasetError(f"{path} ({flag}) is not there. Check the path.", missing=True)
    _link(annotations, destination / "annotations.json")
    for name in _listed_photos(annotations):
        photo = image_dir / name
        if photo.is_file():
            _link(photo, destination / "images" / name)


def _listed_photos(annotations: Path) -> Iterator[str]:
    for piece in pieces(annotations):
        name = piece.value.get("file_name") if piece.key == "images" and isinstance(piece.value, dict) else None
        if isinstance(name, str) and name and not name.startswith("/") and ".." not in name.split("/"):
            yield name


def _voc_roots(data_dir: Path, years: Sequence[str]) -> list[Path]:
    """Returns the folders that hold ImageSets/Main."""
    if not data_dir.is_dir():
        raise DatasetError(f"{data_dir} (--data_dir) is not a folder. Check the path.", missing=True)
    found = sorted(path.parents[1] for path in data_dir.glob("**/ImageSets/Main"))
    roots = [path for path in found if not years or path.name in years]
    lacking = sorted(set(years) - {path.name for path in roots})
    if lacking or not roots:
        wanted = " and ".join(f"{year}/ImageSets/Main" for year in lacking) or "ImageSets/Main"
        there = ", ".join(path.relative_to(data_dir).as_posix() for path in found) or "none"
        raise DatasetError(
            f"A list of photos was expected in {wanted} below {data_dir} (--data_dir, --year). Folders with lists "
            f"there: {there}. Without --set and --year, the whole folder is converted.",
            missing=True,
        )
    return roots


def _set_list(root: Path, set_name: str) -> Path:
    folder = root / "ImageSets" / "Main"
    plain = folder / f"{set_name}.txt"
    if plain.is_file():
        return plain
    of_classes = sorted(folder.glob(f"*_{set_name}.txt"))  # Each names all photos of the set, with -1, 0 or 1.
    if of_classes:
        return of_classes[0]
    names = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))[:10]) or "none"
    raise DatasetError(f"There is no list {plain} (--set={set_name}). Lists there: {names}.", missing=True)


def _link(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.exists():
        return
    try:
        os.symlink(path.resolve(), place)
    except OSError:  # Windows gives links to administrators alone.
        shutil.copyfile(path, place)
