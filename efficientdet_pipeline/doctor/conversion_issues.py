"""Issue types of the conversion: harm, cause and remedy for each problem that the conversion reports."""

from efficientdet_pipeline.doctor.issue import IssueType, Severity
from tfrmod.problems import CODES

_NOTE, _WARNING, _ERROR = Severity
_FIX = "--fix=DIR writes a copy with this corrected"
_LOST = "What is left out is not trained on."
_INSPECT = "Look at the files named"


def _conversion(
    code: str, severity: Severity, harm: int, why: str, remedy: str, fatal_share: float = 2.0
) -> dict[str, IssueType]:
    """Returns the issue type for a problem code of the conversion; the title is that of the conversion."""
    return {code: IssueType(severity, harm, CODES[code], why, remedy, fatal_share)}


CONVERSION_ISSUE_TYPES: dict[str, IssueType] = {
    **_conversion("image_undecodable", _WARNING, 8, _LOST, "Download these files again, or delete them", 0.5),
    **_conversion("image_too_large", _WARNING, 6, _LOST, "Resize these files; no network takes so many pixels", 0.5),
    **_conversion(
        "image_without_annotation",
        _WARNING,
        5,
        "Its objects are not trained on. An image without objects is useful too.",
        "Annotate it; for an image without objects write an annotation without objects",
        0.5,
    ),
    **_conversion(
        "annotation_without_image",
        _WARNING,
        5,
        "The annotation is not used: the image is missing or was renamed.",
        "Put the image beside it, or delete the annotation",
        0.5,
    ),
    **_conversion("annotation_malformed", _WARNING, 7, _LOST, "Correct or delete these files", 0.5),
    **_conversion("annotation_twice", _WARNING, 5, "It is unknown which of the two is right.", "Delete one of them"),
    **_conversion(
        "image_ambiguous",
        _WARNING,
        5,
        "The annotation fits several images, so none is used.",
        "Rename one of the images, or add the folder to the file name in the annotation",
    ),
    **_conversion(
        "annotations_disagree",
        _WARNING,
        7,
        "It is unknown which of the files is right, so the image is left out.",
        "Keep one of the files, or merge them into one",
        0.5,
    ),
    **_conversion(
        "label_ids_changed",
        _NOTE,
        1,
        "Records, exports and detections have other class ids than the data set.",
        "Nothing to do; --label_map sets your own ids",
    ),
    **_conversion(
        "classes_merged", _NOTE, 4, "If they are two classes, they cannot be distinguished any more.", "Rename one"
    ),
    **_conversion("unit_differs", _NOTE, 3, "If the guess is wrong, every box of the image is wrong.", _INSPECT),
    **_conversion(
        "crowd_not_trained",
        _NOTE,
        5,
        "Training skips crowds. Some tools (CVAT, for masks made with the brush) mark single objects so.",
        "If they are single objects, set iscrowd to 0; or train with --skip_crowd_during_training=false",
    ),
    **_conversion(
        "image_size_unclear",
        _WARNING,
        7,
        "If the boxes were drawn at the other size, every box is wrong.",
        "Correct or delete the size in the annotation, or annotate the image again",
        0.5,
    ),
    **_conversion(
        "coordinates_unclear",
        _WARNING,
        7,
        "If the unit is read wrongly, every box is wrong.",
        "Write all boxes of the file in pixels",
        0.5,
    ),
    **_conversion("coordinates_normalised", _NOTE, 1, "Other programs may read them as pixels.", _FIX),
    **_conversion(
        "boxes_rescaled", _NOTE, 2, "The image was resized after it was annotated.", f"{_INSPECT}, or {_FIX}"
    ),
    **_conversion(
        "box_below_pixel", _NOTE, 3, "No detector finds such a box. The unit of its coordinates may be wrong.", _INSPECT
    ),
    **_conversion(
        "class_lists_differ",
        _WARNING,
        8,
        "If the other list is right, every class is wrong.",
        "Compare the lists, and remove the one that is wrong",
    ),
    **_conversion(
        "label_shared",
        _NOTE,
        2,
        "Each object counts twice in the loss.",
        "Delete all but one of the copies",
    ),
    **_conversion(
        "class_list_doubtful",
        _NOTE,
        3,
        "A name too many or too few shifts the ids of all classes after it.",
        "Compare the list with the classes of the boxes",
    ),
    **_conversion(
        "image_size_differs",
        _WARNING,
        8,
        "The boxes fit the image but not the stated size: the size in the annotation is wrong.",
        f"{_INSPECT}; correct the stated size",
        0.5,
    ),
    **_conversion(
        "exif_unclear",
        _WARNING,
        6,
        "If the annotation tool ignored the rotation, the boxes are rotated by a quarter turn.",
        f"{_INSPECT}. If the boxes are right, {_FIX}",
    ),
    **_conversion("exif_turned", _NOTE, 2, "Other programs may show the boxes rotated against the image.", _FIX),
    **_conversion("format_not_as_named", _NOTE, 1, "Other programs may trust the file name and fail.", _FIX),
    **_conversion(
        "image_truncated_slightly",
        _NOTE,
        1,
        "Other programs may reject the file; the missing part is filled with grey.",
        "Download these files again",
    ),
    **_conversion(
        "filename_differs",
        _NOTE,
        3,
        "The annotation may have been copied from another image.",
        f"{_INSPECT}, or {_FIX}",
    ),
    **_conversion("line_unreadable", _WARNING, 6, _LOST, "Correct these lines of the table or list", 0.5),
    **_conversion(
        "image_id_shared",
        _WARNING,
        8,
        "It is unknown which image the objects belong to.",
        "Give each image of the COCO file a unique id",
        0.5,
    ),
    **_conversion("encoding_guessed", _NOTE, 1, "A class name with accents may have been read wrongly.", _FIX),
    **_conversion(
        "object_unreadable", _WARNING, 6, "Without a label it is trained as background.", "Correct these files", 0.5
    ),
    **_conversion(
        "no_object_readable", _WARNING, 7, _LOST, "Correct the objects that the issue object_unreadable names", 0.5
    ),
    **_conversion(
        "mask_left_out",
        _NOTE,
        3,
        "Without the mask the image has no objects: it is trained as background.",
        "Train with --include_masks",
    ),
    **_conversion(
        "box_outside",
        _WARNING,
        4,
        "One pixel is rounding. Beyond that, the coordinates have another order or the image another size.",
        f"{_INSPECT}. If it is rounding, {_FIX}",
        0.8,
    ),
    **_conversion("box_empty", _WARNING, 4, "The object it should mark is trained as background.", _FIX, 0.5),
    **_conversion("corners_swapped", _NOTE, 2, "Other programs drop such boxes.", _FIX),
    **_conversion(
        "class_unreadable",
        _WARNING,
        7,
        "Its objects are missing and are trained as background.",
        "Give the class an id and a name in the class list",
    ),
    **_conversion(
        "alias_without_object", _WARNING, 3, "The alias is misspelt, or not needed.", "Check --label_aliases"
    ),
    **_conversion(
        "class_not_in_label_map",
        _WARNING,
        7,
        "Its boxes are missing, and the objects are trained as background.",
        "Add the class to --label_map, or leave --label_map out to take all classes found",
        0.5,
    ),
    **_conversion(
        "class_spelling",
        _WARNING,
        6,
        "Two spellings are two classes: each is trained on its own images only, and on the others as background.",
        "--label_aliases={aliases}",
    ),
    **_conversion(
        "likeness_divided",
        _WARNING,
        6,
        "Nearly all images look alike: the validation images are nearly the training images.",
        "Add images of more scenes, or name your own lists in ImageSets/Main by --train_set and --val_set",
    ),
    **_conversion(
        "split_skewed",
        _WARNING,
        5,
        "AP is measured on a different kind of images than those of training.",
        "--group_near_duplicates=false; or name your own lists by --train_set and --val_set",
    ),
    **_conversion(
        "image_in_two_sets",
        _WARNING,
        6,
        "Where the lists overlap, validation images are training images.",
        "Correct the lists of the splits",
    ),
    **_conversion("set_lists_unknown", _WARNING, 4, _LOST, "Add the images, or correct the list or data.yaml", 0.5),
    **_conversion(
        "set_not_listed",
        _NOTE,
        5,
        _LOST,
        "Add it to one of the data set's lists, or name other lists by --train_set, --val_set",
    ),
    **_conversion(
        "set_missing",
        _NOTE,
        4,
        "Another list, or the split ratio, is used instead.",
        "Correct the path in data.yaml or the list, or remove the split there",
    ),
    **_conversion(
        "set_reserved",
        _NOTE,
        1,
        "It is not used in training, so the final network can be evaluated on it.",
        "Nothing to do. To evaluate:  --mode=dataset --val_set=NAME, then --mode=eval --val_file_pattern=.../val-*",
    ),
    **_conversion(
        "split_not_followed",
        _NOTE,
        4,
        "If the other reading is right, test images are trained on.",
        "Delete the lists or rename the folders that are wrong, or name lists by --train_set, --val_set",
    ),
    **_conversion(
        "split_completed",
        _NOTE,
        3,
        "Only one split is named; all other images go to the other split.",
        "Name the other split in its own list or folder",
    ),
}
"""Issue types by problem code of the conversion."""
