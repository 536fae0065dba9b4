"""Problem codes of images and annotations, the log that counts and lists them, and limits of a dataset."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from tfrmod.errors import DatasetError

# Faults: something the user gave did not reach the shards as given.
FAULTS = {
    "image_without_annotation": "a photo that no annotation speaks of; left out",
    "annotation_without_image": "an annotation whose photo is not there; left out",
    "annotation_malformed": "an annotation that cannot be read; its photo is left out",
    "annotation_twice": "a second annotation of a photo that has one; the second is left out",
    "image_ambiguous": "an annotation that fits several images equally well; left out",
    "annotations_disagree": "an image that several files annotate differently; left out",
    "image_undecodable": "a file that does not decode as a photo; left out",
    "image_too_large": "an image of more pixels than are opened, 179 million; left out undecoded",
    "image_size_differs": "the annotation states another size than the photo has; the photo is believed",
    "exif_unclear": "an EXIF rotation, and the annotation's size does not tell on which side of it the boxes were "
    "drawn; taken as drawn on the upright picture",
    "image_size_unclear": "the annotation states another size, and its boxes may have been drawn on either; left out",
    "coordinates_unclear": "boxes that may be in pixels or in fractions of the image's sides; the image is left out",
    "object_unreadable": "an object without a name or a readable box; dropped",
    "no_object_readable": "a photo none of whose objects could be read; left out, so that it does not teach background",
    "too_many_objects": "an image with more objects than any real image has; left out",
    "mask_unreadable": "a mask that cannot be read; left out, while the box stays",
    "line_unreadable": "a line of a table or list that cannot be read; left out",
    "class_lists_differ": "a list of class names that disagrees with the nearer one, by which label files are read",
    "class_unreadable": "a class without a usable id and name; its objects are dropped",
    "image_id_shared": "an id that a COCO file gives to several photos, whose objects cannot be told apart; left out",
    "box_outside": "a box that reaches outside its photo; clipped",
    "box_empty": "a box without area inside its photo; dropped",
    "class_not_in_label_map": "an object whose class the label map does not hold; dropped",
    "set_lists_unknown": "a list, folder or image that a set names, and that is not there or has no annotation",
    "image_in_two_sets": "an image that is listed for training and for validation; kept for training only",
}
# Notes: put right without loss, or worth a look; --strict lets them pass.
NOTES = {
    "image_unlabelled": "a photo without a label file, which in its format says that nothing is on it; kept as such",
    "mask_left_out": "a mask of classes on a photo without objects; left out unless --include_masks asks for it",
    "label_ids_changed": "class ids that could not be kept as the data set has them",
    "attributes_left_out": "attributes of regions beside the one that is the class; not read",
    "annotations_merged": "an image that one file lists several times; its objects were taken together",
    "classes_merged": "a name that several categories bear, which are one class here",
    "box_from_outline": "an object without a box; the bounding box of its outline was taken",
    "crowd_not_trained": "an object marked as a crowd (iscrowd); training skips it unless "
    "--skip_crowd_during_training=false",
    "unit_differs": "an image whose coordinates are in another unit, pixels or fractions, than most of its table; read "
    "in its own",
    "corners_swapped": "a box whose corners are in the wrong order; put right",
    "exif_turned": "boxes drawn on the stored, unrotated pixels; turned upright with the picture",
    "format_not_as_named": "a photo whose extension names another format than its content; the content is believed",
    "image_truncated_slightly": "a JPEG without its last bytes, so that up to 1 % of the picture is missing; kept",
    "filename_differs": "an annotation whose filename tag names another file than the photo it lies beside",
    "encoding_guessed": "a text in another encoding than it states or UTF-8; the encoding was guessed",
    "coordinates_normalised": "coordinates from 0 to 1, read as fractions of the image's sides",
    "box_below_pixel": "a box less than a pixel wide or high; kept",
    "boxes_rescaled": "boxes drawn on the size that the annotation states; scaled to the size that the image has",
    "label_shared": "copies of one image in one place, which by YOLO's rule have one label file; all kept",
    "class_list_doubtful": "a list of class names with blank lines, or of another number of names than it states",
    "class_spelling": "two class names that look like one misspelt",
    "difficult_left_out": "an object marked as difficult; left out, as asked",
    "masks_absent": "masks were asked for, and no photo that can be used has any",
    "alias_without_object": "a name in --label_aliases that no object bears",
    "split_leak": "a photo that shows the same as one of the training list; validation on it flatters",
    "likeness_divided": "photos that show the same had to be divided, because there are hardly others",
    "split_skewed": "a split unlike the others, because images that look alike stay together; "
    "--group_near_duplicates=false divides them",
    "split_thin": "a split of so few photos that its numbers say little",
    "set_not_listed": "an annotated image that no list or folder puts into a set; left out",
    "set_missing": "images of a set that is not in use, named by the data set and not there",
    "set_reserved": "an image of a set that is neither trained nor validated on; kept for evaluation (--val_set)",
    "split_not_followed": "images that the data set divides in two ways; one of them is followed",
    "split_completed": "images in no set of the data set; taken for the set that is missing",
}
CODES = FAULTS | NOTES

MAX_OBJECTS = 10_000
"""Objects on one image."""
MAX_CLASSES = 10_000
MAX_CLASS_ID = 2_000
"""Ids up to this one are kept, as COCO's 90 and LVIS's 1203 are; the network has an output for each number up to it."""
MAX_SAME_PROBLEMS = 1_000
"""Problems of one kind that are listed one by one for each annotation file; the others are counted."""
_MAX_FILES = 10


class Problem(NamedTuple):
    """One finding about one file."""

    code: str
    file: str
    message: str = ""


@dataclass(frozen=True)
class ProblemCount:
    """How often a problem was met, and the first files it was met in."""

    count: int
    files: tuple[str, ...]


class ProblemLog:
    """All findings of one run, in the order in which they were made.

    With `strict`, the first fault ends the run. With a file they are written
    there, one JSON object a line, and only counted here; a million of them then
    take no memory.
    """

    def __init__(self, *, strict: bool = False, file: TextIO | None = None) -> None:
        self.strict = strict
        self.problems: list[Problem] = []
        """Every finding, where there is no file."""
        self._file = file
        self._counts: Counter[str] = Counter()
        self._files: dict[str, dict[str, None]] = {}
        self._reasons: dict[str, str] = {}

    def add(self, problem: Problem) -> None:
        """Takes one finding down.

        Raises:
          DatasetError: with `strict`, when it is a fault.
        """
        if self.strict and problem.code in FAULTS:
            raise DatasetError(
                f"{problem.file}: {CODES[problem.code]}{_tail(problem.message)}. With --strict, any such fault ends "
                "the run; mend the file, or leave --strict out to have faults counted and listed instead."
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
        """Takes several findings down."""
        for problem in problems:
            self.add(problem)

    def first_reason(self, code: str) -> str:
        """Returns the message of the first problem of a code, "" where there is none."""
        return self._reasons.get(code, "")

    def summary(self) -> dict[str, ProblemCount]:
        """Returns each code met, with its count and the first ten files named."""
        return {
            code: ProblemCount(self._counts[code], tuple(self._files[code])) for code in CODES if code in self._counts
        }


def _printable(text: str) -> str:
    """Returns a text that UTF-8 can hold; names of files need not be such."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _tail(message: str) -> str:
    return f" ({message})" if message else ""
