"""What the doctor knows: every kind of finding, why it hurts, and what mends it."""

import re
from collections.abc import Iterable
from typing import Any

from efficientdet_pipeline.doctor.conversion_issues import CONVERSION_ISSUE_TYPES
from efficientdet_pipeline.doctor.issue import Issue, IssueType, Severity
from tfrmod.problems import CODES, FAULTS

_NOTE, _WARNING, _ERROR = Severity
INSPECT = "Look at the files named"
_FIX = "--fix=DIR writes a copy in which it is put right"
_BOXES = {
    "box_tiny": IssueType(
        _WARNING,
        7,
        "a box smaller than a cell of the network's finest map",
        "There is next to nothing left of the object at the network's image size.",
        "A larger --image_size",
    ),
    "box_giant": IssueType(
        _NOTE,
        2,
        "a box that fills its image",
        "It says what the image is, not where something is.",
        f"{INSPECT}: if the box stands for 'somewhere here', draw it anew",
    ),
    "box_twice": IssueType(
        _WARNING,
        4,
        "a box drawn twice",
        "The detector is taught to find one thing twice, and its AP counts the second as missed.",
        _FIX,
    ),
    "box_two_classes": IssueType(
        _WARNING,
        7,
        "a box with two classes",
        "One of the two labels is wrong, or the classes overlap; both are taught.",
        "Delete the wrong one; rename a class that means the same by --label_aliases",
    ),
    "boxes_not_unit": IssueType(
        _ERROR,
        10,
        "a record whose boxes are not between 0 and 1",
        "Records hold boxes as shares of height and width; in pixels they lie far outside the image.",
        "Write the records anew: --mode=dataset does so from images and annotations",
    ),
    "boxes_percent": IssueType(
        _WARNING,
        10,
        "a box within the first 100 pixels of far larger images, as all boxes are",
        "The annotations may give percentages of width and height, which are read as pixels: no object is then where "
        "its box is.",
        "Look at the boxes by --mode=inspect; if they are percentages, export the annotations in pixels",
    ),
    "crowded": IssueType(
        _WARNING,
        6,
        "an image with more boxes than max_instances_per_image",
        "The boxes beyond it are cut off, and taught to be background.",
        "Leave --max_instances_per_image out: the most that an image has is then taken",
    ),
    "crowded_detections": IssueType(
        _WARNING,
        5,
        "an image with more boxes than the detector gives detections",
        "Whatever is learnt, the rest is never found, and AP suffers.",
        "--hparams=nms_configs.max_output_size={most}; or cut such images into tiles",
    ),
    "anchors_unmatched": IssueType(
        _WARNING,
        9,
        "a box that no anchor matches (IoU .5)",
        "Only its one nearest anchor learns it, and badly: such classes stay near AP 0.",
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
        "Training skips such boxes, so that there is nothing to learn. Some tools (CVAT, for masks made with the "
        "brush) mark single objects so.",
        "Set iscrowd to 0 in the annotations, or train with --skip_crowd_during_training=false",
    ),
    "label_zero": IssueType(
        _ERROR,
        10,
        "a box whose class id is below 1",
        "Ids start at 1; below, a box is padding and is passed over without a word.",
        "Write the records anew with ids from 1",
    ),
    "label_beyond": IssueType(
        _ERROR,
        10,
        "a box whose class id is above num_classes",
        "The network has no output for it.",
        "Leave --num_classes out: the largest id of the data is then taken",
    ),
    "num_classes_over": IssueType(
        _WARNING,
        2,
        "a class more in num_classes than in the data",
        "The background needs no class of its own here; that output is never taught.",
        "Leave --num_classes out",
    ),
    "label_gaps": IssueType(
        _NOTE, 1, "a class id that nothing has", "Each costs an output that learns nothing.", "Number without gaps"
    ),
    "label_unused": IssueType(
        _WARNING,
        4,
        "a class of the label map without any box",
        "Spelt otherwise in the annotations, all its boxes are missing.",
        "Check the spelling; --label_aliases joins spellings",
    ),
    "class_rare": IssueType(
        _WARNING,
        6,
        "a class with few boxes to learn from",
        "Below some dozens a class is hardly learnt.",
        "More images of it; --class_balance=1 shows those there are more often",
    ),
    "class_imbalance": IssueType(
        _NOTE,
        4,
        "a class ten times rarer than another",
        "The frequent class teaches most of the time.",
        "--class_balance=0.5 shows the rare ones more often",
    ),
    "class_not_in_train": IssueType(
        _WARNING,
        8,
        "a class that only validation images show",
        "It is never taught, and counts in AP with 0.",
        "Another --train_set and --val_set, or more images of it",
    ),
    "class_not_in_val": IssueType(
        _WARNING,
        3,
        "a class that no validation image shows",
        "Whether it was learnt cannot be measured.",
        "Another --train_set and --val_set, or more images of it",
    ),
    "labels_missing": IssueType(
        _WARNING,
        7,
        "an image without a class that nearly all others show",
        "If it was forgotten, the image teaches that it is background.",
        f"{INSPECT}, and annotate what was forgotten",
    ),
    "negatives_many": IssueType(
        _NOTE, 3, "an image without objects", "They teach what is background; most need not.", "Fewer of them"
    ),
}
_IMAGES = {
    "photo_twice": IssueType(
        _NOTE, 3, "an image that is there twice", "It teaches twice as much as others.", "Delete the copies"
    ),
    "photo_alike": IssueType(
        _NOTE,
        2,
        "an image that looks like another",
        "Frames of a film and copies saved anew teach little that is new.",
        "Fewer frames a second",
    ),
    "twins_disagree": IssueType(
        _WARNING,
        7,
        "an image that is there twice, with other boxes each time",
        "What is an object on the one is background on the other.",
        "Delete the worse one",
    ),
    "photo_small": IssueType(
        _NOTE,
        3,
        "an image less than half as large as the network's canvas",
        "Enlarged pixels cost time and show nothing new.",
        "A smaller --image_size",
    ),
    "photo_large": IssueType(
        _NOTE,
        2,
        "an image more than four times as large as the network's canvas",
        "Decoding it costs more than training on it.",
        "--prepare_size={size} makes such images smaller once",
    ),
    "photo_long": IssueType(
        _NOTE,
        4,
        "an image more than three times as long as wide, or wide as long",
        "Most of the canvas stays empty, and the objects become small.",
        "An --image_size of its shape, WIDTHxHEIGHT, or tiles of the image",
    ),
    "record_unreadable": IssueType(
        _ERROR,
        9,
        "a record that is no tf.train.Example of an image",
        "A training ends at the first of them.",
        "Write the records anew; --mode=verify names every damaged file",
    ),
    "record_rotated": IssueType(
        _WARNING,
        5,
        "a record whose image has an EXIF rotation",
        "Training sees it lying on its side; other programs show it upright, beside its boxes.",
        "Write the records anew: --mode=dataset turns images and boxes upright",
    ),
}
_SPLITS = {
    "leak": IssueType(
        _WARNING,
        8,
        "a validation image that is a training image too",
        "The detector has learnt it by heart; AP says more than is true.",
        "--fix=DIR writes a copy in which both are for training",
        0.5,
    ),
    "leak_alike": IssueType(
        _WARNING,
        6,
        "a validation image that looks like a training image",
        "A neighbouring frame or a copy saved anew; AP says more than is true.",
        "--fix=DIR writes a copy in which look-alikes are on one side",
    ),
    "val_small": IssueType(
        _NOTE,
        5,
        "an image to validate on; fewer than 20 say little",
        "AP then swings by chance, and picks the best checkpoint by chance.",
        "A smaller --train_valid_split, or a longer list (--val_set) where the data brings lists",
    ),
}
_TRAINING = {
    "step_skipped": IssueType(
        _WARNING,
        8,
        "a training step that was skipped: loss or gradient was not finite",
        "One now and then is harmless; many mean that the run diverges.",
        "A smaller --learning_rate, --precision=float32; look at the images named",
        0.2,
    ),
    "loss_spike": IssueType(
        _WARNING,
        6,
        "a step or epoch whose loss jumped",
        "Wrong boxes do that, and a learning rate that is too high.",
        f"{INSPECT}; if they are fine, a smaller --learning_rate",
        0.2,
    ),
    "class_never_found": IssueType(
        _WARNING,
        9,
        "a class of which the detector finds next to nothing",
        "Its boxes may be too small for the anchors, too few, or the training too short.",
        "More epochs; then the findings on its anchors, boxes and images",
    ),
    "found_without_truth": IssueType(
        _WARNING,
        7,
        "a confident detection where nothing is annotated",
        "Often the detector is right, and an object was forgotten.",
        f"{INSPECT}, and annotate what was forgotten",
    ),
    "truth_never_found": IssueType(
        _NOTE,
        6,
        "an annotated object that the detector does not see at all",
        "Some are hard; others have the wrong class, or a box that is off.",
        f"{INSPECT}, and mend what is wrong",
    ),
    "truth_other_class": IssueType(
        _WARNING,
        7,
        "an annotated object that the detector takes for another class, confidently",
        "Often the label is wrong.",
        f"{INSPECT}, and mend what is wrong",
    ),
}
ISSUE_TYPES: dict[str, IssueType] = {**CONVERSION_ISSUE_TYPES, **_BOXES, **_CLASSES, **_IMAGES, **_SPLITS, **_TRAINING}


def issue_type(code: str) -> IssueType:
    """Returns the kind of a code; one of the mill that has no line here is taken by the mill's own word."""
    if code in ISSUE_TYPES:
        return ISSUE_TYPES[code]
    severity = Severity.WARNING if code in FAULTS else Severity.NOTE
    return IssueType(severity, 4, CODES[code], "What is left out teaches nothing." if code in FAULTS else "", INSPECT)


def unit_of(code: str) -> str:
    """Returns what a kind counts, in the plural, by its title; empty where it counts something else."""
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
    """Returns a finding; None where nothing was found.

    Args:
      code: one of `KINDS`, or of the mill's codes.
      count: how many were found.
      of: how many there are in all; 0 where that says nothing.
      files: names, the worst first.
      detail: a sentence with the numbers of this data set.
      severity: in place of the kind's own.
      values: the same for machines; `remedy` stands for the kind's own words, the others fill their blanks.
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
