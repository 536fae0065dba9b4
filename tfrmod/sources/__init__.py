"""Annotation formats: a table with one entry and one module per format."""

from collections import Counter
from pathlib import Path, PurePosixPath

from tfrmod.errors import DatasetError
from tfrmod.sources import coco, createml, csv_boxes, cvat, labelme, masks, unlabelled, via, voc, yolo
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.image_classes import CLASS_SOURCES
from tfrmod.sources.mask_pairs import lossy_masks
from tfrmod.sources.recognition import unread_exports
from tfrmod.sources.semantic import SEMANTIC_SOURCES
from tfrmod.sources.source import Entry, Listing, Reading, Source

__all__ = ["SOURCES", "Entry", "Listing", "Reading", "Source", "find_source"]

SOURCES: dict[str, Source] = {
    "voc": Source("Pascal VOC (one XML per image)", voc.is_here, voc.listing, voc.read),
    "coco": Source("COCO (JSON with images, annotations and categories)", coco.is_here, coco.listing, coco.read),
    "yolo": Source("YOLO (one text per image, in fractions of its sides)", yolo.is_here, yolo.listing, yolo.read),
    "cvat": Source("CVAT for images (XML with images, boxes and polygons)", cvat.is_here, cvat.listing, cvat.read),
    "labelme": Source("LabelMe (a JSON an image)", labelme.is_here, labelme.listing, labelme.read),
    "via": Source("VIA 1 and 2 (JSON or CSV with regions)", via.is_here, via.listing, via.read),
    "createml": Source(
        "CreateML (JSON with images and annotations)", createml.is_here, createml.listing, createml.read
    ),
    "csv": Source("CSV (a box a row)", csv_boxes.is_here, csv_boxes.listing, csv_boxes.read),
    "masks": Source("masks (a PNG per image)", masks.is_here, masks.listing, masks.read),
    "photos": Source("images without labels", unlabelled.is_here, unlabelled.listing, unlabelled.read),
    **SEMANTIC_SOURCES,
    **CLASS_SOURCES,
}
# Tables and masks are often made from one of the others, or stored next to it; the other one takes precedence.
_FIRST = ("voc", "coco", "yolo", "cvat", "labelme", "via", "createml")
_SECOND = ("csv", "masks")
# The folders of the others may have mask images too.
_SEMANTIC = (("semantic_voc", "ade20k", "cityscapes", "semantic_coco"), ("semantic_masks",))
# A table takes precedence over the folders that its images are in.
_CLASSES = (("class_csv",), ("class_folders",))
# Names of box formats when their semantic maps are requested.
_SEMANTIC_NAMES = {"voc": "semantic_voc", "coco": "semantic_coco", "masks": "semantic_masks"}


def find_source(
    folder: Path, source_format: str | None = None, *, semantic: bool = False, image_classes: bool = False
) -> str:
    """Returns the name in `SOURCES` of the format of a folder.

    Args:
      folder: the unpacked dataset.
      source_format: as stated by the user; None detects it.
      semantic: whether the classes of pixels are requested, and not boxes.
      image_classes: whether the classes of whole images are requested, and not boxes.

    Raises:
      DatasetError: the folder does not exist, has no known annotations, or has
        annotations of two formats, either of which may be the right one.
      ValueError: `source_format` is not in the table.
    """
    if not folder.is_dir():
        raise DatasetError(f"The dataset must be a folder; {folder} does not exist, or is a file.", missing=True)
    if source_format is not None:
        if source_format not in SOURCES:
            raise ValueError(f"Unknown source_format {source_format!r}. Known: {', '.join(SOURCES)}.")
        if image_classes:
            return _class_source(source_format)
        if not semantic:
            return source_format
        name = _SEMANTIC_NAMES.get(source_format, source_format)
        if name not in SEMANTIC_SOURCES:
            raise DatasetError(
                f"source_format must be one of semantic maps, {', '.join(SEMANTIC_SOURCES)}. Received {source_format}, "
                "which has boxes only."
            )
        return name
    files = list_files(folder)
    for rank in _CLASSES if image_classes else _SEMANTIC if semantic else (_FIRST, _SECOND):
        found = [name for name in rank if SOURCES[name].is_here(folder, files)]
        if len(found) == 1:
            return found[0]
        if found:
            kinds = " and ".join(SOURCES[name].title for name in found)
            flags = " or ".join(f"--source_format={name}" for name in found)
            raise DatasetError(
                f"{folder} holds annotations of {len(found)} kinds, {kinds}, either of which may apply: set {flags}."
            )
    if semantic or image_classes:
        what, sources = ("semantic maps", SEMANTIC_SOURCES) if semantic else ("classes of images", CLASS_SOURCES)
        known = "; ".join(source.title for source in sources.values())
        lossy = masks.lossy_advice(sorted(lossy_masks(files.images))) if semantic else ""
        reason = f" {_why_no_classes(folder, files)}" if image_classes and files.images else lossy
        raise DatasetError(
            f"No {what} were found in {folder}, which holds {_inventory(files)}.{reason} Known formats: {known}."
        )
    known = "; ".join(SOURCES[name].title for name in (*_FIRST, *_SECOND))
    exports = unread_exports(folder, files)
    if exports:
        raise DatasetError(f"No annotations that can be read were found in {folder}. {exports} Known formats: {known}.")
    advice = " For records of images without labels, set --source_format=photos." if files.images else ""
    raise DatasetError(
        f"No annotations were found in {folder}, which holds {_inventory(files)}. Known formats: {known}.{advice}"
    )


def _why_no_classes(folder: Path, files: Files) -> str:
    """Returns the reason why the likely source of the classes of images does not fit."""
    try:
        CLASS_SOURCES["class_csv" if files.csv else "class_folders"].listing(folder)
    except DatasetError as error:
        return str(error)
    return ""


def _class_source(source_format: str) -> str:
    name = {"csv": "class_csv"}.get(source_format, source_format)
    if name not in CLASS_SOURCES:
        raise DatasetError(
            f"source_format of a classification must be one of {', '.join(CLASS_SOURCES)}. Received {source_format}, "
            "which has no class for a whole image."
        )
    return name


def _inventory(files: Files) -> str:
    kinds = Counter(PurePosixPath(path).suffix.lower() or "no extension" for kind in files for path in kind)
    if not kinds:
        return "no files"
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(5))
