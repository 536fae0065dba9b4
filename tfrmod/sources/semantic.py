"""Semantic segmentation: mask images, Pascal VOC, ADE20K, Cityscapes, and COCO polygons rasterized to one map.

Each image gets one map of its size: the class of each pixel from 1, 0 for
background, 255 for ignored pixels. In ADE20K and Cityscapes all other pixels
have a class, so 0 does not occur. If a map is missing, has another size, or ids
beyond the classes, this is reported, and its image left out.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from tfrmod import masks as mask_pictures
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.mask_edges import EdgeCounts, edge_counts
from tfrmod.problems import Problem
from tfrmod.sources import coco, masks
from tfrmod.sources.coordinates import image_sizes
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.semantic_names import ADE20K, CITYSCAPES, CITYSCAPES_MAX_ID, VOC, voc_colors
from tfrmod.sources.source import Entry, Listing, Reading, Source
from tfrmod.sources.split_names import SET_WORDS
from tfrmod.text import read_text

WITHOUT_BACKGROUND = frozenset({"ade20k", "cityscapes"})
"""Sources in which 0 does not occur: a network has columns only for classes 1 to k, see `training_map`."""

_MAX_LIST_BYTES = 1 << 26
_MASKS_READ_FOR_CLASSES = 1024


def training_map(values: np.ndarray, *, has_background: bool) -> np.ndarray:
    """Returns the map as the loss expects it: columns of the network from 0, 255 for ignored pixels.

    Args:
      values: of a record, uint8.
      has_background: whether the network has a column for 0. If not, class 1 is column 0, and pixels of 0 are ignored.
    """
    if has_background:
        return values
    return np.where(values == 0, mask_pictures.IGNORED, np.where(values < 255, values - 1, values)).astype(np.uint8)


def list_voc(folder: Path) -> Listing:
    """Returns the images of JPEGImages with a map in SegmentationClass, and the lists of ImageSets/Segmentation.

    Raises:
      DatasetError: no image has a map.
    """
    files = list_files(folder)
    maps = {_stem(path): path for path in files.masks if _has_folder(path, "segmentationclass")}
    images = {_stem(path): path for path in files.images if _has_folder(path, "jpegimages")}
    splits: dict[str, str] = {}
    for path in files.txt:
        place = PurePosixPath(path)
        if place.parent.name.lower() == "segmentation" and place.stem.lower() in SET_WORDS:
            for name in read_text(folder / path, max_bytes=_MAX_LIST_BYTES).text.split():
                if place.stem.lower() != "trainval":
                    splits[name] = SET_WORDS[place.stem.lower()]
    return _listing("voc", images, maps, splits, "JPEGImages/*.jpg and SegmentationClass/*.png")


def list_ade20k(folder: Path) -> Listing:
    """Returns the images of images/{training,validation} with a map in annotations/{training,validation}.

    Raises:
      DatasetError: no image has a map.
    """
    files = list_files(folder)
    by_kind: dict[str, dict[str, str]] = {"images": {}, "annotations": {}}
    splits: dict[str, str] = {}
    for path in (*files.images, *files.masks):
        parts = PurePosixPath(path).parts
        if len(parts) >= 3 and parts[-3].lower() in by_kind and parts[-2].lower() in SET_WORDS:
            split = SET_WORDS[parts[-2].lower()]
            key = f"{split}/{_stem(path)}"
            by_kind[parts[-3].lower()][key] = path
            splits[key] = split
    expected = "images/{training,validation}/*.jpg and annotations/{training,validation}/*.png"
    return _listing("ade20k", by_kind["images"], by_kind["annotations"], splits, expected)


def list_cityscapes(folder: Path) -> Listing:
    """Returns the images of leftImg8bit/<split>/<city> with labelIds, or else labelTrainIds, in gtFine.

    Raises:
      DatasetError: no image has a map.
    """
    files = list_files(folder)
    images: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {"labelIds": {}, "labelTrainIds": {}}
    splits: dict[str, str] = {}
    for path in (*files.images, *files.masks):
        place = PurePosixPath(path)
        stem, _, kind = place.stem.rpartition("_")
        if kind == "leftImg8bit":
            images[stem] = path
            if len(place.parts) >= 3 and place.parts[-3].lower() in SET_WORDS:
                splits[stem] = SET_WORDS[place.parts[-3].lower()]
        elif kind in found and stem.endswith("_gtFine"):
            found[kind][stem.removesuffix("_gtFine")] = path
    maps = found["labelTrainIds"] | found["labelIds"]
    expected = "leftImg8bit/<split>/<city>/*_leftImg8bit.png and gtFine/<split>/<city>/*_gtFine_labelIds.png"
    return _listing("cityscapes", images, maps, splits, expected)


def _listing(
    kind: str, images: Mapping[str, str], maps: Mapping[str, str], splits: Mapping[str, str], expected: str
) -> Listing:
    common = sorted(images.keys() & maps.keys(), key=lambda key: images[key])
    if not common:
        raise DatasetError(
            f"Expected {expected}, with the same names. Found {counted(len(images), 'image')} and "
            f"{counted(len(maps), 'map')} there, and no name in both."
        )
    problems = [Problem("image_without_annotation", images[key]) for key in sorted(images.keys() - maps.keys())]
    problems += [Problem("annotation_without_image", maps[key]) for key in sorted(maps.keys() - images.keys())]
    sets: dict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(common):
        if key in splits:
            sets[splits[key]].append(position)
    return Listing(
        entries=tuple(Entry(images[key], maps[key], kind.encode()) for key in common),
        problems=tuple(problems),
        sets={name: tuple(positions) for name, positions in sets.items()},
        label_map=dict(enumerate(_NAMES[kind], start=1)),
    )


_NAMES: dict[str, Sequence[str]] = {"voc": VOC, "ade20k": ADE20K, "cityscapes": tuple(CITYSCAPES.values())}


def read(folder: Path, entry: Entry, *, masks: bool = True) -> Reading:
    """Returns an image of `list_voc`, `list_ade20k` or `list_cityscapes` with its map.

    Args:
      folder: of the dataset.
      entry: of the listing.
      masks: whether to read the map.
    """
    upright, stored = image_sizes(folder / entry.image)
    if 0 in upright:
        return Reading(None, (Problem("image_undecodable", entry.image),))
    kind = entry.detail.decode()
    try:
        values = mask_pictures.png_array((folder / entry.annotation).read_bytes())
        if values.shape[:2] not in (upright, stored):
            raise DatasetError(
                f"a map of {values.shape[1]}x{values.shape[0]} pixels for the image {entry.image} of "
                f"{stored[1]}x{stored[0]}"
            )
        classes = _CLASSES_OF[kind](values, entry.annotation)
    except (DatasetError, OSError) as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    height, width = classes.shape
    image = AnnotatedImage(filename=entry.image, height=height, width=width, path=folder / entry.image)
    return Reading(replace(image, segmentation=mask_pictures.array_png(classes)) if masks else image)


def _voc_classes(values: np.ndarray, path: str) -> np.ndarray:
    del path
    if values.ndim == 3:
        palette: dict[int | tuple[int, int, int], int] = {}
        for color, value in voc_colors(len(VOC) + 1).items():
            palette[color] = value
        # VOC draws the border of objects in a color of its own.
        palette[224, 224, 192] = mask_pictures.IGNORED
        values = mask_pictures.png_array(mask_pictures.class_png(mask_pictures.array_png(values), palette))
    return _checked(values, len(VOC))


def _ade20k_classes(values: np.ndarray, path: str) -> np.ndarray:
    del path
    classes = _checked(values, len(ADE20K))
    return np.where(classes == 0, mask_pictures.IGNORED, classes).astype(np.uint8)


def _cityscapes_classes(values: np.ndarray, path: str) -> np.ndarray:
    if PurePosixPath(path).stem.endswith("labelTrainIds"):
        classes = _checked(values, len(CITYSCAPES) - 1)
        return np.where(classes < 255, classes + 1, 255).astype(np.uint8)
    table = np.full(256, mask_pictures.IGNORED, np.uint8)
    for number, label_id in enumerate(CITYSCAPES, start=1):
        table[label_id] = number
    return table[_checked(values, CITYSCAPES_MAX_ID)]


_CLASSES_OF: dict[str, Callable[[np.ndarray, str], np.ndarray]] = {
    "voc": _voc_classes,
    "ade20k": _ade20k_classes,
    "cityscapes": _cityscapes_classes,
}


def _checked(values: np.ndarray, largest: int) -> np.ndarray:
    """Returns the values as uint8.

    Raises:
      DatasetError: they are colors, or one is above the largest id and is not 255.
    """
    if values.ndim != 2:
        raise DatasetError("a color map, where ids as gray levels or palette indices are expected")
    beyond = values[(values > largest) & (values != mask_pictures.IGNORED)]
    if beyond.size:
        raise DatasetError(
            f"{beyond.size} pixels with ids beyond the classes, for example {beyond.max()}; {largest} is the "
            f"largest and {mask_pictures.IGNORED} marks ignored pixels"
        )
    return values.astype(np.uint8)


def list_masks(folder: Path) -> Listing:
    """Returns the images of `masks.listing`, with classes from more masks where no file lists them.

    Raises:
      DatasetError: no image has a mask, two classes have one name, the masks have no value but 0, or their values are
        smooth edges.
    """
    listing = masks.listing(folder, probed=_MASKS_READ_FOR_CLASSES)
    notes = [json.loads(entry.detail) for entry in listing.entries]
    names = [name for _, name in notes[0]["names"]]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DatasetError(
            f"The list of classes gives {twice!r} to two ids. Merge the ids in the masks, or rename one."
        )
    paths = [note["semantic"] for note in notes if note["semantic"]]
    counts = edge_counts(_gray_levels(folder, paths[:: max(1, len(paths) // masks.PROBED)]))
    if not any(note["guess"] for note in notes):
        problems = [] if notes[0]["numbers"] else _interpolated(counts, paths[0])
        return replace(listing, problems=(*listing.problems, *problems))
    if counts.is_smoothed:
        raise DatasetError(
            f"The values of a mask must be the ids of classes. Those of {paths[0]} and others lie between a lower and "
            "a higher one, as smooth edges or interpolation make them, for example "
            f"{', '.join(map(str, counts.interpolated[:5]))}. Make the masks again without smoothing, or as 0 and 255 "
            "by a threshold; where they are the ids of thin classes, name the classes in classes.txt."
        )
    if counts.pixels[0] == counts.pixels.sum() > 0 and listing.label_map == {1: masks.OBJECT}:
        raise DatasetError(
            f"A mask must have the ids of classes, from 1 on, or 255 for its one class. All {len(paths)} in {folder} "
            "have 0 alone."
        )
    return replace(listing, problems=(*listing.problems, *_interpolated(counts, paths[0])))


def _gray_levels(folder: Path, paths: Sequence[str]) -> Iterator[np.ndarray]:
    """Yields the masks with values up to 255; what cannot be read is reported by its own reading."""
    for path in paths:
        try:
            values = mask_pictures.png_array((folder / path).read_bytes())
        except (DatasetError, OSError):
            continue
        if values.ndim == 2 and values.max(initial=0) <= mask_pictures.IGNORED:
            yield values.astype(np.uint8)


def _interpolated(counts: EdgeCounts, path: str) -> list[Problem]:
    found = counts.interpolated
    named = ", ".join(map(str, found[:5]))
    return [Problem("map_interpolated", path, f"values {named} in this mask and others")] if found else []


def read_masks(folder: Path, entry: Entry, *, masks: bool = True) -> Reading:
    """Returns an image of `masks.listing` with its map, checked against the classes and the image's size."""
    reading = _MASKS_READ(folder, entry, masks=True)
    if reading.image is None:
        return reading
    path = json.loads(entry.detail)["semantic"]
    if path:
        # Masks of objects may be coarser than their image; a map of classes is learnt pixel by pixel.
        (_, shape), sizes = image_sizes(folder / path), image_sizes(folder / entry.image)
        if 0 not in shape and shape not in (*sizes, sizes[0][::-1]):
            message = (
                f"a map of {shape[1]}x{shape[0]} pixels for the image {entry.image} of {sizes[1][1]}x{sizes[1][0]}"
            )
            return Reading(None, (*reading.problems, Problem("annotation_malformed", path, message)))
    if not reading.image.segmentation:
        return Reading(None, (*reading.problems, Problem("image_without_annotation", entry.image, "no map of classes")))
    note = json.loads(entry.detail)
    names = dict(note["names"])
    try:
        classes = _checked(mask_pictures.png_array(reading.image.segmentation), max(names))
        values = set(np.unique(classes).tolist())
        unnamed = sorted(values - names.keys() - {0, mask_pictures.IGNORED})
        if unnamed:
            raise DatasetError(f"pixels with the id {unnamed[0]}, which is not in the list of classes")
        if values == {0, mask_pictures.IGNORED} and not note["numbers"]:
            raise DatasetError("0 and 255 alone, where 255 marks ignored pixels of other masks; save class ids")
    except DatasetError as error:
        return Reading(None, (*reading.problems, Problem("annotation_malformed", entry.annotation, str(error))))
    image = reading.image if masks else replace(reading.image, segmentation=b"")
    return Reading(replace(image, objects=()), reading.problems)


_MASKS_READ = masks.read


def list_coco(folder: Path) -> Listing:
    """Returns the images of COCO files whose objects have outlines, with the classes for their maps."""
    listing = coco.listing(folder)
    names = {name: number for number, name in (listing.label_map or {}).items()}
    head = json.dumps(names, ensure_ascii=False).encode()
    prefix = len(head).to_bytes(4, "big") + head
    return replace(listing, entries=tuple(entry._replace(detail=prefix + entry.detail) for entry in listing.entries))


def read_coco(folder: Path, entry: Entry, *, masks: bool = True) -> Reading:
    """Returns an image of `list_coco` with its objects rasterized to one map.

    Small objects cover large ones. The box of an object without an outline is
    ignored, except where another object covers it.
    """
    length = int.from_bytes(entry.detail[:4], "big")
    class_ids: dict[str, int] = json.loads(entry.detail[4 : 4 + length])
    reading = coco.read(folder, entry._replace(detail=entry.detail[4 + length :]), masks=True)
    image = reading.image
    if image is None:
        return reading
    too_large = [number for number in class_ids.values() if number >= mask_pictures.IGNORED]
    if too_large:
        message = f"class id {max(too_large)}; a map has ids up to {mask_pictures.IGNORED - 1}"
        return Reading(None, (*reading.problems, Problem("annotation_malformed", entry.annotation, message)))
    if not image.height or not image.width:
        return Reading(None, (*reading.problems, Problem("image_undecodable", entry.image)))
    classes = np.zeros((image.height, image.width), np.uint8)
    objects = sorted(image.objects, key=lambda thing: (bool(thing.mask), -thing.area))
    for thing in objects:
        if not thing.mask:
            y0, x0, y1, x1 = (max(0, round(side)) for side in thing.box)
            classes[y0:y1, x0:x1] = mask_pictures.IGNORED
            continue
        area = mask_pictures.png_array(thing.mask) > 0
        if area.shape != classes.shape:
            message = (
                f"an outline on {area.shape[1]}x{area.shape[0]} pixels, the image has {image.width}x{image.height}"
            )
            return Reading(None, (*reading.problems, Problem("annotation_malformed", entry.image, message)))
        classes[area] = class_ids[thing.name]
    segmentation = mask_pictures.array_png(classes) if masks else b""
    return Reading(replace(image, objects=(), segmentation=segmentation), reading.problems)


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _has_folder(path: str, name: str) -> bool:
    return name in (part.lower() for part in PurePosixPath(path).parts[:-1])


def _finds(listing: Callable[[Path], Listing]) -> Callable[[Path, Files], bool]:
    def is_here(folder: Path, files: Files) -> bool:
        del files
        try:
            listing(folder)
        except DatasetError:
            return False
        return True

    return is_here


SEMANTIC_SOURCES: dict[str, Source] = {
    "semantic_masks": Source("semantic maps (a PNG per image)", masks.is_here, list_masks, read_masks),
    "semantic_voc": Source("Pascal VOC (SegmentationClass)", _finds(list_voc), list_voc, read),
    "semantic_coco": Source("COCO, outlines as one map", coco.is_here, list_coco, read_coco),
    "ade20k": Source("ADE20K scene parsing", _finds(list_ade20k), list_ade20k, read),
    "cityscapes": Source("Cityscapes (gtFine)", _finds(list_cityscapes), list_cityscapes, read),
}
"""Sources of semantic segmentation. Their folders look like those of other sources; an option selects them."""
