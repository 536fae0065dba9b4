"""Issue types: title, severity, harm, cause and remedy of each."""

import re
from collections.abc import Iterable
from typing import Any

from efficientdet_pipeline.doctor.conversion_issues import CONVERSION_ISSUE_TYPES
from efficientdet_pipeline.doctor.issue import Issue, IssueType, Severity
from tfrmod.problems import CODES, FAULTS

_NOTE, _WARNING, _ERROR = Severity
INSPECT = "Look at the files named"
_FIX = "--fix=DIR writes a copy with this corrected"
_BOXES = {
    "box_tiny": IssueType(
        _WARNING,
        7,
        "a box smaller than a cell of the network's finest feature map",
        "At the network's image size almost nothing is left of the object.",
        "A larger --image_size",
    ),
    "box_giant": IssueType(
        _NOTE,
        2,
        "a box that fills its image",
        "It classifies the image instead of locating an object.",
        f"{INSPECT}: if the box only means 'somewhere here', draw it again",
    ),
    "box_twice": IssueType(
        _WARNING,
        4,
        "a box annotated twice",
        "The detector is trained to detect one object twice, and AP counts the second box as missed.",
        _FIX,
    ),
    "box_two_classes": IssueType(
        _WARNING,
        7,
        "a box with two classes",
        "One of the two labels is wrong, or the classes overlap; both are trained.",
        "Delete the wrong one; merge classes of one meaning by --label_aliases",
    ),
    "boxes_not_unit": IssueType(
        _ERROR,
        10,
        "a record whose boxes are not between 0 and 1",
        "Records store boxes as fractions of height and width; pixel values lie far outside the image.",
        "Write the records again:  --mode=dataset does so from images and annotations",
    ),
    "boxes_percent": IssueType(
        _WARNING,
        10,
        "a box within the first 100 pixels of a far larger image, as all boxes are",
        "The annotations may be percentages of width and height that are read as pixels: no box is then where "
        "its object is.",
        "Look at the boxes by --mode=inspect; if they are percentages, export the annotations in pixels",
    ),
    "crowded": IssueType(
        _WARNING,
        6,
        "an image with more boxes than max_instances_per_image",
        "Boxes beyond this number are dropped, and the objects are trained as background.",
        "Leave --max_instances_per_image out: the maximum of the data is then used",
    ),
    "crowded_detections": IssueType(
        _WARNING,
        5,
        "an image with more boxes than the detector returns detections",
        "The remaining objects are never detected, which lowers AP.",
        "--hparams=nms_configs.max_output_size={most}; or cut such images into tiles",
    ),
    "anchors_unmatched": IssueType(
        _WARNING,
        9,
        "a box that no anchor matches (IoU .5)",
        "Only its single best anchor is trained on it, and badly: such classes stay near AP 0.",
        "A larger --image_size",
    ),
}
_CLASSES = {
    "no_boxes": IssueType(
        _ERROR, 10, "a training split without any box", "There is nothing to learn.", "Check the annotations"
    ),
    "only_crowds": IssueType(
        _ERROR,
        10,
        "a training split whose boxes all mark a crowd (iscrowd)",
        "Training skips such boxes, so there is nothing to learn. Some tools (CVAT, for masks made with the "
        "brush) mark single objects so.",
        "Set iscrowd to 0 in the annotations, or train with --skip_crowd_during_training=false",
    ),
    "label_zero": IssueType(
        _ERROR,
        10,
        "a box whose class id is below 1",
        "Ids start at 1; a box with a lower id counts as padding and is ignored.",
        "Write the records again with ids from 1",
    ),
    "label_beyond": IssueType(
        _ERROR,
        10,
        "a box whose class id is above num_classes",
        "The network has no output for it.",
        "Leave --num_classes out: the largest id of the data is then used",
    ),
    "num_classes_over": IssueType(
        _WARNING,
        2,
        "a class in num_classes that the data does not have",
        "The background is not a class here; that output is never trained.",
        "Leave --num_classes out",
    ),
    "label_gaps": IssueType(
        _NOTE,
        1,
        "a class id without boxes",
        "Each adds an output that is never trained.",
        "Number the classes without gaps",
    ),
    "label_unused": IssueType(
        _WARNING,
        4,
        "a class of the label map without any box",
        "If the annotations spell it differently, all its boxes are missing.",
        "Check the spelling; --label_aliases merges spellings",
    ),
    "class_rare": IssueType(
        _WARNING,
        6,
        "a class with few training boxes",
        "A class needs some dozens of boxes to be learnt.",
        "Add images of it; --class_balance=1 repeats the existing ones more often",
    ),
    "class_imbalance": IssueType(
        _NOTE,
        4,
        "a class at least ten times rarer than another",
        "The frequent class dominates training.",
        "--class_balance=0.5 repeats images of rare classes more often",
    ),
    "class_not_in_train": IssueType(
        _WARNING,
        8,
        "a class that occurs in validation images only",
        "It is never trained, and counts in AP with 0.",
        "Choose another --train_set and --val_set, or add images of it",
    ),
    "class_not_in_val": IssueType(
        _WARNING,
        3,
        "a class that occurs in no validation image",
        "Its AP cannot be measured.",
        "Choose another --train_set and --val_set, or add images of it",
    ),
    "labels_missing": IssueType(
        _WARNING,
        7,
        "an image without a class that nearly all others have",
        "If its annotation is missing, the object is trained as background.",
        f"{INSPECT}, and annotate what is missing",
    ),
    "negatives_many": IssueType(
        _NOTE,
        3,
        "an image without objects",
        "They are trained as background; a minority is enough.",
        "Use fewer of them",
    ),
}
_IMAGES = {
    "photo_twice": IssueType(
        _NOTE, 3, "an image that occurs twice", "It counts twice in training.", "Delete the copies"
    ),
    "photo_alike": IssueType(
        _NOTE,
        2,
        "an image that looks like another",
        "Frames of a video and re-encoded copies add little information.",
        "Use fewer frames per second",
    ),
    "twins_disagree": IssueType(
        _WARNING,
        7,
        "an image that occurs twice, with different boxes",
        "An object in one copy is background in the other.",
        "Delete the wrong one",
    ),
    "photo_small": IssueType(
        _NOTE,
        3,
        "an image less than half as large as the network's canvas",
        "Upscaled images cost time and add no information.",
        "Use a smaller --image_size",
    ),
    "photo_large": IssueType(
        _NOTE,
        2,
        "an image more than four times as large as the network's canvas",
        "Decoding it costs more than training on it.",
        "--prepare_size={size} downscales such images once",
    ),
    "photo_long": IssueType(
        _NOTE,
        4,
        "an image with an aspect ratio above 3:1",
        "Most of the canvas is padding, and the objects become small.",
        "Use an --image_size of its aspect ratio, WIDTHxHEIGHT, or cut the image into tiles",
    ),
    "record_unreadable": IssueType(
        _ERROR,
        9,
        "a record that is not a tf.train.Example of an image",
        "A training stops with an error at the first one.",
        "Write the records again; --mode=verify lists every damaged file",
    ),
    "record_rotated": IssueType(
        _WARNING,
        5,
        "a record whose image has an EXIF rotation",
        "Training reads it unrotated; other programs rotate it, so that the boxes do not fit.",
        "Write the records again: --mode=dataset rotates images and boxes upright",
    ),
}
_SPLITS = {
    "leak": IssueType(
        _WARNING,
        8,
        "a validation image that is also a training image",
        "The detector was trained on it, so AP is too high.",
        "--fix=DIR writes a copy with both in training",
        0.5,
    ),
    "leak_alike": IssueType(
        _WARNING,
        6,
        "a validation image that looks like a training image",
        "It is a neighbouring frame or a re-encoded copy, so AP is too high.",
        "--fix=DIR writes a copy with near-duplicates in one split",
    ),
    "val_small": IssueType(
        _NOTE,
        5,
        "an image for validation; fewer than 20 give no reliable AP",
        "AP varies by chance, and so does the choice of the best checkpoint.",
        "Use a smaller --train_valid_split, or a longer list (--val_set) if the data set has lists",
    ),
}
_TRAINING = {
    "step_skipped": IssueType(
        _WARNING,
        8,
        "a training step that was skipped, with a non-finite loss or gradient",
        "Single steps are harmless; many mean that the run diverges.",
        "Use a smaller --learning_rate or --precision=float32; look at the images named",
        0.2,
    ),
    "loss_spike": IssueType(
        _WARNING,
        6,
        "a step or epoch whose loss jumped",
        "Causes are wrong boxes, or a learning rate that is too high.",
        f"{INSPECT}; if they are fine, use a smaller --learning_rate",
        0.2,
    ),
    "class_never_found": IssueType(
        _WARNING,
        9,
        "a class of which the detector finds almost nothing",
        "Its boxes may be too few or too small for the anchors, or the training too short.",
        "Train for more epochs; then see the issues of its anchors, boxes and images",
    ),
    "found_without_truth": IssueType(
        _WARNING,
        7,
        "a confident detection where nothing is annotated",
        "Often the detector is right, and an annotation is missing.",
        f"{INSPECT}, and annotate what is missing",
    ),
    "truth_never_found": IssueType(
        _NOTE,
        6,
        "an annotated object that the detector does not find at all",
        "Some are difficult; others have the wrong class or a wrong box.",
        f"{INSPECT}, and correct what is wrong",
    ),
    "truth_other_class": IssueType(
        _WARNING,
        7,
        "an annotated object that the detector confidently assigns to another class",
        "Often the label is wrong.",
        f"{INSPECT}, and correct what is wrong",
    ),
}
ISSUE_TYPES: dict[str, IssueType] = {**CONVERSION_ISSUE_TYPES, **_BOXES, **_CLASSES, **_IMAGES, **_SPLITS, **_TRAINING}


def issue_type(code: str) -> IssueType:
    """Returns the issue type of a code; for a conversion code without an entry here, with the conversion's title."""
    if code in ISSUE_TYPES:
        return ISSUE_TYPES[code]
    severity = Severity.WARNING if code in FAULTS else Severity.NOTE
    return IssueType(severity, 4, CODES[code], "What is left out is not trained on." if code in FAULTS else "", INSPECT)


def unit_of(code: str) -> str:
    """Returns what an issue type counts, in the plural, from its title; empty if it counts something else."""
    counted = re.match(r"an? (?:annotated )?(validation image|box|object|class|image|record)\b", issue_type(code).title)
    return _UNITS[counted[1]] if counted else ""


_UNITS = {
    "validation image": "validation images",
    "box": "boxes",
    "object": "boxes",
    "class": "classes",
    "image": "images",
    "record": "records",
}


def make_issue(
    code: str,
    *,
    count: int,
    of: int = 0,
    files: Iterable[str] = (),
    detail: str = "",
    severity: Severity | None = None,
    **values: Any,
) -> Issue | None:
    """Returns an issue; None if `count` is 0.

    Args:
      code: one of `ISSUE_TYPES`, or a problem code of the conversion.
      count: number of occurrences.
      of: the total; 0 where a share means nothing.
      files: names, the worst first.
      detail: a sentence with the figures of this data set.
      severity: replaces that of the issue type.
      values: the same figures, machine-readable; `remedy` replaces that of the issue type, others fill its blanks.
    """
    if count == 0:
        return None
    kind = issue_type(code)
    share = min(1.0, count / of) if of else 1.0
    named = tuple(dict.fromkeys(files))
    severity = kind.severity if severity is None else severity
    is_fatal = severity == Severity.WARNING and share >= kind.fatal_share
    remedy = values.pop("remedy", None) or kind.remedy.format_map(values)
    if remedy == INSPECT and not named:
        remedy = ""
    return Issue(
        code=code,
        severity=Severity.ERROR if is_fatal else severity,
        title=kind.title,
        count=count,
        of=of,
        unit=unit_of(code) if of else "",
        files=named,
        why=kind.why,
        remedy=remedy,
        detail=detail,
        values=values,
        harm=kind.harm * share,
    )
