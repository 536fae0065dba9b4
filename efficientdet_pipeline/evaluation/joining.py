"""Joins ground truth and detector: classes by name, images by file name.

Two data sets may use one number for different things. Numbers are used only
where one of the two has no names at all, and a warning says so.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from absl import logging

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.truth import TruthImage
from tfrmod.errors import DatasetError
from tfrmod.manifest import RecordedImage
from tfrmod.pairing import Names
from tfrmod.text import clean_name

_SHOWN = 5


def join_classes(
    truth: Mapping[int, str],
    label_map: Mapping[int, str],
    *,
    num_classes: int,
    source: str,
    other_names: Mapping[int, str] | None = None,
    can_rename: bool = True,
) -> dict[int, int]:
    """Returns {class id of the ground truth: class id of the detector}.

    Args:
      truth: the classes that occur; an empty name if the data has none.
      label_map: of the detector; a class named by its own number may have no name.
      num_classes: of the detector.
      source: where the ground truth comes from, for messages.
      other_names: other names of the detector's classes, such as those in its
        training data.
      can_rename: whether --hparams gives the network other names.

    Raises:
      DataError: a class of the ground truth is not a class of the detector.
    """
    by_name: dict[str, set[int]] = defaultdict(set)
    by_folded: dict[str, set[int]] = defaultdict(set)
    for class_id, name in (*label_map.items(), *(other_names or {}).items()):
        by_name[name].add(class_id)
        by_folded[_folded(name)].add(class_id)
    joined, by_number, unknown = {}, [], []
    for class_id, name in sorted(truth.items()):
        candidates = (by_name.get(name) or by_folded.get(_folded(name)) or set()) if name else set()
        has_no_name = not name or label_map.get(class_id, str(class_id)) == str(class_id)
        if class_id in candidates or (not candidates and has_no_name and 1 <= class_id <= num_classes):
            joined[class_id] = class_id
            by_number += [] if candidates else [class_id]
        elif len(candidates) == 1:
            (joined[class_id],) = candidates
        else:
            unknown.append(name or str(class_id))
    if unknown:
        raise DataError(
            f"The classes of {source} must be those of the network: {_few(_named(label_map), 10) or num_classes}. It "
            f"has {len(unknown)} other classes: {_few(unknown, 10)}. Evaluate on data of the same classes"
            + (", or rename those of the network by --hparams=label_map={1: name, …}." if can_rename else ".")
        )
    if by_number:
        side = "the network's" if any(truth[class_id] for class_id in by_number) else f"those of {source}"
        numbers = _few(map(str, by_number), 10)
        logging.warning("Classes are matched by number, since %s have no names: %s.", side, numbers)
    moved = {class_id: other for class_id, other in joined.items() if class_id != other}
    if moved:
        logging.info(
            "Classes are matched by name; other numbers in %s: %s.",
            source,
            _few(
                (
                    f"{truth[class_id]} {class_id} in the data, {other} in the network"
                    for class_id, other in moved.items()
                ),
                10,
            ),
        )
    return joined


def join_images(truth: Sequence[TruthImage], recorded: Sequence[RecordedImage], *, source: str) -> list[TruthImage]:
    """Returns the ground truth of each recorded image, in their order, with their source ids and in their pixels.

    Args:
      truth: of a COCO file.
      recorded: the evaluated images.
      source: the COCO file, for messages.

    Raises:
      DataError: an image of the records is not in the ground truth, several match
        it, or the aspect ratios differ.
    """
    named = any(image.file_name for image in truth) and any(image.filename for image in recorded)
    if not named:
        logging.warning("Images are matched by number, since %s or the shards give no file names.", source)
    found = _by_name(truth, recorded) if named else _by_number(truth, recorded)
    missing = [image for image, match in zip(recorded, found, strict=True) if match is None]
    if missing:
        known = [image.file_name or image.source_id for image in truth]
        raise DataError(
            f"Every evaluated image must be in {source}. {len(missing)} of {len(recorded)} are missing or ambiguous, "
            f"for example {missing[0].filename or missing[0].source_id!r}; it has "
            f"{_few(map(repr, known), 3) or 'no images'}. Check that val_json_file and the validation shards are of "
            "one data set, or leave val_json_file out: the ground truth is then read from the shards."
        )
    unused = len(truth) - len({id(match) for match in found})
    if unused:
        logging.info("%d of %d images of %s are in no evaluated shard and are ignored.", unused, len(truth), source)
    return [_fitted(match, image, source) for match, image in zip(found, recorded, strict=True) if match is not None]


def _by_name(truth: Sequence[TruthImage], recorded: Sequence[RecordedImage]) -> list[TruthImage | None]:
    files: dict[str, list[RecordedImage]] = defaultdict(list)
    for image in recorded:
        files[image.filename.replace("\\", "/")].append(image)
    paths = Names(files).find_all((image.file_name for image in truth if image.file_name), near="")
    claims: dict[int, list[TruthImage]] = defaultdict(list)
    for described in truth:
        matches = paths.get(described.file_name, [])
        of_file = files[matches[0]] if len(matches) == 1 else []
        if len(of_file) > 1:
            of_file = [each for each in of_file if each.source_id == described.source_id]
        if len(of_file) == 1:
            claims[id(of_file[0])].append(described)
    return [claims[id(image)][0] if len(claims[id(image)]) == 1 else None for image in recorded]


def _by_number(truth: Sequence[TruthImage], recorded: Sequence[RecordedImage]) -> list[TruthImage | None]:
    by_id = {image.source_id: image for image in truth}
    return [by_id.get(image.source_id) for image in recorded]


def _fitted(truth: TruthImage, recorded: RecordedImage, source: str) -> TruthImage:
    """Returns the ground truth with the record's source id and in the record's pixels."""
    height, width = truth.size
    if not (height and width and recorded.height and recorded.width):
        return truth._replace(source_id=recorded.source_id)
    scale_y, scale_x = recorded.height / height, recorded.width / width
    # The size of a downscaled image is rounded to integers.
    if abs(scale_y * width - recorded.width) > 1 and abs(scale_x * height - recorded.height) > 1:
        raise DataError(
            f"{recorded.filename or recorded.source_id} must have the aspect ratio stated in {source}. It has "
            f"{recorded.width}x{recorded.height} pixels in the shards and {width}x{height} there; correct the sizes, "
            "or leave val_json_file out: the ground truth is then read from the shards."
        )
    boxes = np.asarray(truth.boxes) * np.array([scale_y, scale_x, scale_y, scale_x])
    areas = None if truth.areas is None else np.asarray(truth.areas) * scale_y * scale_x
    return truth._replace(source_id=recorded.source_id, boxes=boxes, areas=areas)


def with_classes(image: TruthImage, class_ids: Mapping[int, int]) -> TruthImage:
    """Returns the ground truth of an image with the detector's class ids."""
    return image._replace(
        class_ids=np.array([class_ids[int(class_id)] for class_id in image.class_ids], dtype=np.int64)
    )


def check_source_ids(source_ids: Iterable[str], *, source: str) -> None:
    """Raises DataError if images of an evaluation share a source id, which makes their detections ambiguous."""
    count = Counter(each for each in source_ids if each)
    twice = [source_id for source_id, times in count.items() if times > 1]
    if twice:
        raise DataError(
            f"Each image of {source} must have a unique image/source_id. {sum(count[each] for each in twice)} "
            f"records share {len(twice)} ids, for example {twice[0]!r} ({count[twice[0]]} times). Are shards named "
            "twice, or of two data sets? Otherwise write them again with other ids, or without ids."
        )


def _folded(name: str) -> str:
    try:
        return clean_name(name).casefold()
    except DatasetError:
        return name


def _named(label_map: Mapping[int, str]) -> list[str]:
    return [label_map[class_id] for class_id in sorted(label_map)]


def _few(names: Iterable[str], count: int = _SHOWN) -> str:
    listed = list(names)
    return ", ".join(listed[:count]) + (" …" if len(listed) > count else "")
