"""Problem codes of images and annotations, the log that counts and lists them, and limits of a dataset."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from tfrmod.errors import DatasetError

# Faults: some input did not reach the shards unchanged.
FAULTS = {
    "image_without_annotation": "an image without an annotation; left out",
    "annotation_without_image": "an annotation whose image is missing; left out",
    "annotation_malformed": "an annotation that cannot be read; its image is left out",
    "annotation_twice": "a second annotation of the same image; the second is left out",
    "image_ambiguous": "an annotation that matches several images equally well; left out",
    "annotations_disagree": "an image that several files annotate differently; left out",
    "image_undecodable": "a file that cannot be decoded as an image; left out",
    "image_too_large": "an image with more than 179 million pixels; left out without decoding",
    "image_size_differs": "the annotation states another size than the image has; the image's own size is used",
    "exif_unclear": "an EXIF rotation, and the annotation's size does not show whether the boxes refer to the stored "
    "or the upright image; taken as upright",
    "image_size_unclear": "the annotation states another size, and its boxes may refer to either; left out",
    "coordinates_unclear": "boxes that may be in pixels or in fractions of the image's sides; the image is left out",
    "object_unreadable": "an object without a name or a readable box; dropped",
    "no_object_readable": "an image none of whose objects could be read; left out, so that it is not trained as "
    "background",
    "too_many_objects": "an image with more objects than are supported; left out",
    "mask_unreadable": "a mask that cannot be read; left out, the box is kept",
    "line_unreadable": "a line of a table or list that cannot be read; left out",
    "class_lists_differ": "a list of class names that disagrees with the nearer one, which is used",
    "class_unreadable": "a class without a usable id and name; its objects are dropped",
    "image_id_shared": "an id that a COCO file gives to several images, whose objects cannot be distinguished; left "
    "out",
    "box_outside": "a box that extends beyond its image; clipped",
    "box_empty": "a box without area inside its image; dropped",
    "class_not_in_label_map": "an object whose class is not in the label map; dropped",
    "set_lists_unknown": "a list, folder or image that a set names, and that is missing or has no annotation",
    "image_in_two_sets": "an image that is listed for training and for validation; kept for training only",
}
# Notes: corrected without loss, or worth a look; --strict ignores them.
NOTES = {
    "image_unlabelled": "an image without a label file, which in its format means that it has no objects; kept as "
    "background",
    "mask_left_out": "a class mask of an image without objects; left out unless --include_masks is set",
    "label_ids_changed": "class ids that could not be kept as the dataset has them",
    "attributes_left_out": "attributes of regions other than the class; not read",
    "annotations_merged": "an image that one file lists several times; its objects were merged",
    "classes_merged": "several categories with the same name; merged into one class",
    "box_from_outline": "an object without a box; the bounding box of its outline was used",
    "crowd_not_trained": "an object marked as a crowd (iscrowd); training skips it unless "
    "--skip_crowd_during_training=false",
    "unit_differs": "an image whose coordinates are in another unit, pixels or fractions, than most of its table; read "
    "in its own",
    "corners_swapped": "a box whose corners are in the wrong order; corrected",
    "exif_turned": "boxes that refer to the stored, unrotated pixels; rotated upright with the image",
    "format_not_as_named": "an image whose extension names another format than its content; the content decides",
    "image_truncated_slightly": "a truncated JPEG that lacks up to 1 % of the image; kept",
    "filename_differs": "an annotation whose filename tag names another file than the image it belongs to",
    "encoding_guessed": "a text that is neither in the encoding it states nor in UTF-8; the encoding was guessed",
    "coordinates_normalised": "coordinates from 0 to 1, read as fractions of the image's sides",
    "box_below_pixel": "a box less than a pixel wide or high; kept",
    "boxes_rescaled": "boxes that refer to the stated size; scaled to the actual size of the image",
    "label_shared": "copies of one image in one folder, which by YOLO's rule share one label file; all kept",
    "class_list_doubtful": "a list of class names with blank lines, or with another number of names than it states",
    "map_interpolated": "values of masks that lie on edges only, between a lower and a higher one, as interpolation "
    "makes them; resize masks with nearest neighbor",
    "class_without_images": "a folder beside those of classes that has no images; it is no class",
    "class_spelling": "two class names that are probably one, misspelt",
    "difficult_left_out": "an object marked as difficult; left out, as requested",
    "masks_absent": "masks were requested, and no usable image has any",
    "alias_without_object": "a name in --label_aliases that no object has",
    "split_leak": "an image that is a near-duplicate of a training image; validation on it is too optimistic",
    "likeness_divided": "near-duplicates that had to be split, because there are hardly any other images",
    "split_skewed": "a split unlike the others, because near-duplicates are kept in the same split; "
    "--group_near_duplicates=false separates them",
    "split_thin": "a split with too few images for reliable metrics",
    "set_not_listed": "an annotated image that is in no list and no split folder; left out",
    "set_missing": "images of a set that is not in use, named by the dataset and missing",
    "set_reserved": "an image of a set that is used neither for training nor for validation; kept for evaluation "
    "(--val_set)",
    "split_not_followed": "the dataset defines its splits in two ways that disagree; one of them is used",
    "split_completed": "images in no set of the dataset; used for the set that is missing",
}
CODES = FAULTS | NOTES

MAX_OBJECTS = 10_000
"""Largest number of objects on one image."""
MAX_CLASSES = 10_000
MAX_CLASS_ID = 2_000
"""Ids up to this one are kept, as COCO's 90 and LVIS's 1203; the network has an output for each id up to it."""
MAX_SAME_PROBLEMS = 1_000
"""Number of problems of one code listed for each annotation file; further ones are only counted."""
_MAX_FILES = 10


class Problem(NamedTuple):
    """One problem of one file."""

    code: str
    file: str
    message: str = ""


@dataclass(frozen=True)
class ProblemCount:
    """The number of occurrences of a problem, and the first files it occurred in."""

    count: int
    files: tuple[str, ...]


class ProblemLog:
    """The problems of one run, in the order of their detection.

    With `strict`, the first fault ends the run. With a file, problems are
    written there, one JSON object per line, and only counted here, so that a
    million of them take no memory.
    """

    def __init__(self, *, strict: bool = False, file: TextIO | None = None) -> None:
        self.strict = strict
        self.problems: list[Problem] = []
        """All problems; empty if they are written to a file."""
        self._file = file
        self._counts: Counter[str] = Counter()
        self._files: dict[str, dict[str, None]] = {}
        self._reasons: dict[str, str] = {}

    def add(self, problem: Problem) -> None:
        """Records one problem.

        Raises:
          DatasetError: with `strict`, when it is a fault.
        """
        if self.strict and problem.code in FAULTS:
            raise DatasetError(
                f"{problem.file}: {CODES[problem.code]}{_tail(problem.message)}. With --strict, any such fault ends "
                "the run; correct the file, or leave --strict out to have faults counted and listed instead."
            )
        problem = Problem(problem.code, _printable(problem.file), _printable(problem.message))
        self._counts[problem.code] += 1
        self._reasons.setdefault(problem.code, problem.message)
        named = self._files.setdefault(problem.code, {})
        if len(named) < _MAX_FILES:
            named.setdefault(problem.file)
        if self._file is None:
            self.problems.append(problem)
        else:
            self._file.write(json.dumps(problem._asdict(), ensure_ascii=False) + "\n")

    def extend(self, problems: Iterable[Problem]) -> None:
        """Records several problems."""
        for problem in problems:
            self.add(problem)

    def first_reason(self, code: str) -> str:
        """Returns the message of the first problem of a code, "" if there is none."""
        return self._reasons.get(code, "")

    def summary(self) -> dict[str, ProblemCount]:
        """Returns each code that occurred, with its count and the first ten files named."""
        return {
            code: ProblemCount(self._counts[code], tuple(self._files[code])) for code in CODES if code in self._counts
        }


def _printable(text: str) -> str:
    """Returns a text that UTF-8 can encode; file names may contain other characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _tail(message: str) -> str:
    return f" ({message})" if message else ""
