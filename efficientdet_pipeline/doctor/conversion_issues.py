"""What the doctor adds to the findings of the mill: how much they harm, why, and what mends them."""

from efficientdet_pipeline.doctor.issue import IssueType, Severity
from tfrmod.problems import CODES

_NOTE, _WARNING, _ERROR = Severity
_FIX = "--fix=DIR writes a copy in which it is put right"
_LOST = "What is left out teaches nothing."
_INSPECT = "Look at the files named"


def _conversion(
    code: str, severity: Severity, harm: int, why: str, remedy: str, fatal_share: float = 2.0
) -> dict[str, IssueType]:
    """Returns a kind for a code of the mill, whose title is the mill's own."""
    return {code: IssueType(severity, harm, CODES[code], why, remedy, fatal_share)}


CONVERSION_ISSUE_TYPES: dict[str, IssueType] = {
    **_conversion("image_undecodable", _WARNING, 8, _LOST, "Fetch these files again, or delete them", 0.5),
    **_conversion(
        "image_too_large", _WARNING, 6, _LOST, "Make these files smaller; no network sees so many pixels", 0.5
    ),
    **_conversion(
        "image_without_annotation",
        _WARNING,
        5,
        "What is on it could teach. If nothing is, that could teach too.",
        "Annotate it; an image of nothing gets an annotation without objects",
        0.5,
    ),
    **_conversion(
        "annotation_without_image",
        _WARNING,
        5,
        "Annotated in vain: the image was lost, or renamed.",
        "Put the image beside it, or delete the annotation",
        0.5,
    ),
    **_conversion("annotation_malformed", _WARNING, 7, _LOST, "Mend or delete these files", 0.5),
    **_conversion("annotation_twice", _WARNING, 5, "Which of the two is right nobody can know.", "Delete one of them"),
    **_conversion(
        "image_ambiguous",
        _WARNING,
        5,
        "Which image is meant nobody can know, so none is taken.",
        "Rename one of the images, or write their folders into the annotation",
    ),
    **_conversion(
        "annotations_disagree",
        _WARNING,
        7,
        "Which of the files is right nobody can know, so the image is left out.",
        "Keep one of the files, or join them into one",
        0.5,
    ),
    **_conversion(
        "label_ids_changed",
        _NOTE,
        1,
        "Records, exports and detections have other class ids than the data set.",
        "Nothing needs to be done; --label_map chooses ids of your own",
    ),
    **_conversion(
        "classes_merged", _NOTE, 4, "Were two classes meant, they can no longer be told apart.", "Rename one"
    ),
    **_conversion("unit_differs", _NOTE, 3, "Where the guess is wrong, every box of the image is.", _INSPECT),
    **_conversion(
        "crowd_not_trained",
        _NOTE,
        5,
        "Training skips crowds. Some tools (CVAT, for masks made with the brush) mark single objects so.",
        "Where they are single objects, set iscrowd to 0; or train with --skip_crowd_during_training=false",
    ),
    **_conversion(
        "image_size_unclear",
        _WARNING,
        7,
        "Drawn on the other size, every box would be off.",
        "Correct or delete the size in the annotation, or annotate anew",
        0.5,
    ),
    **_conversion(
        "coordinates_unclear",
        _WARNING,
        7,
        "Read in the wrong unit, every box would be off.",
        "Write all boxes of the file in pixels",
        0.5,
    ),
    **_conversion("coordinates_normalised", _NOTE, 1, "Other programs take them for pixels.", _FIX),
    **_conversion(
        "boxes_rescaled", _NOTE, 2, "The image was resized after it was annotated.", f"{_INSPECT}, or {_FIX}"
    ),
    **_conversion("box_below_pixel", _NOTE, 3, "No detector finds it. Is the unit of its numbers right?", _INSPECT),
    **_conversion(
        "class_lists_differ",
        _WARNING,
        8,
        "If the other list is right, every class is taken for another one.",
        "Compare the lists, and remove the one that is wrong",
    ),
    **_conversion(
        "label_shared",
        _NOTE,
        2,
        "Each object is learnt twice.",
        "Delete all but one of the copies",
    ),
    **_conversion(
        "class_list_doubtful",
        _NOTE,
        3,
        "A name too many or too few shifts the classes after it.",
        "Compare the list with the classes of the boxes",
    ),
    **_conversion(
        "image_size_differs",
        _WARNING,
        8,
        "The boxes fit the image and not the size that is stated: the annotation's size is wrong.",
        f"{_INSPECT}; correct the stated size",
        0.5,
    ),
    **_conversion(
        "exif_unclear",
        _WARNING,
        6,
        "If the annotation tool ignored the rotation, the boxes lie a quarter turn off.",
        f"{_INSPECT}. Where the boxes are right, {_FIX}",
    ),
    **_conversion("exif_turned", _NOTE, 2, "Other programs may show image and boxes a quarter turn apart.", _FIX),
    **_conversion("format_not_as_named", _NOTE, 1, "Other programs may believe the name and fail.", _FIX),
    **_conversion(
        "image_truncated_slightly",
        _NOTE,
        1,
        "Other programs may refuse the file; what is missing is grey.",
        "Fetch these files again",
    ),
    **_conversion(
        "filename_differs", _NOTE, 3, "Was the annotation copied from another image?", f"{_INSPECT}, or {_FIX}"
    ),
    **_conversion("line_unreadable", _WARNING, 6, _LOST, "Mend these lines of the table or list", 0.5),
    **_conversion(
        "image_id_shared",
        _WARNING,
        8,
        "Whose the objects are nobody can know.",
        "Number the images of the COCO file anew, each with an id of its own",
        0.5,
    ),
    **_conversion("encoding_guessed", _NOTE, 1, "A class name with accents may have been read wrongly.", _FIX),
    **_conversion(
        "object_unreadable", _WARNING, 6, "Unlabelled, it is taught to be background.", "Mend these files", 0.5
    ),
    **_conversion(
        "no_object_readable", _WARNING, 7, _LOST, "Correct the objects that the finding object_unreadable names", 0.5
    ),
    **_conversion(
        "mask_left_out",
        _NOTE,
        3,
        "Without it the image is one of nothing: it teaches background, and no segmentation.",
        "Train with --include_masks",
    ),
    **_conversion(
        "box_outside",
        _WARNING,
        4,
        "By a pixel it is rounding. Further out, the boxes are in another order or of another image size.",
        f"{_INSPECT}. Where it is rounding, {_FIX}",
        0.8,
    ),
    **_conversion("box_empty", _WARNING, 4, "What it was meant to mark is taught to be background.", _FIX, 0.5),
    **_conversion("corners_swapped", _NOTE, 2, "Other programs drop such boxes.", _FIX),
    **_conversion(
        "class_unreadable",
        _WARNING,
        7,
        "Its objects are missing, and what they mark is taught to be background.",
        "Give the class an id and a name in the file that lists the classes",
    ),
    **_conversion(
        "alias_without_object", _WARNING, 3, "The alias is misspelt, or not needed.", "Check --label_aliases"
    ),
    **_conversion(
        "class_not_in_label_map",
        _WARNING,
        7,
        "Its boxes are missing, and what they mark is taught to be background.",
        "Add the class to --label_map, or leave --label_map out to take all classes found",
        0.5,
    ),
    **_conversion(
        "class_spelling",
        _WARNING,
        6,
        "Two spellings are two classes: each learns from its own images, and the other's are background.",
        "--label_aliases={aliases}",
    ),
    **_conversion(
        "likeness_divided",
        _WARNING,
        6,
        "Nearly all images look alike: what is validated on was all but seen in training.",
        "Images of more scenes; or lists of your own in ImageSets/Main, by --train_set and --val_set",
    ),
    **_conversion(
        "split_skewed",
        _WARNING,
        5,
        "AP is measured on another kind of images than the network learns from.",
        "--group_near_duplicates=false; or lists of your own, by --train_set and --val_set",
    ),
    **_conversion(
        "image_in_two_sets",
        _WARNING,
        6,
        "Where the lists overlap, what is validated on was learnt by heart.",
        "Correct the lists that divide the images",
    ),
    **_conversion(
        "set_lists_unknown", _WARNING, 4, _LOST, "Put the images in place, or correct the list or data.yaml", 0.5
    ),
    **_conversion(
        "set_not_listed",
        _NOTE,
        5,
        _LOST,
        "Add it to one of the data set's lists, or name others by --train_set, --val_set",
    ),
    **_conversion(
        "set_missing",
        _NOTE,
        4,
        "Another set, or the ratio, takes its place.",
        "Correct the path in data.yaml or the list, or leave the set out there",
    ),
    **_conversion(
        "set_reserved",
        _NOTE,
        1,
        "It takes no part in training, so the final network can be measured on it.",
        "Nothing. To measure: --mode=dataset --val_set=NAME, then --mode=eval --val_file_pattern=.../val-*",
    ),
    **_conversion(
        "split_not_followed",
        _NOTE,
        4,
        "If the other way was meant, images to test on are trained on.",
        "Delete the lists or rename the folders that are wrong, or name sets by --train_set, --val_set",
    ),
    **_conversion(
        "split_completed",
        _NOTE,
        3,
        "Only one side was named; what it does not name is taken for the other.",
        "Name the other side in a list or a folder of its own",
    ),
}
"""By the mill's codes."""
