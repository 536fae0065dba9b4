"""Names of the annotation formats, by what they annotate; their readers are in `tfrmod.sources`."""

BOXES = ("voc", "coco", "yolo", "cvat", "labelme", "via", "createml", "csv", "masks", "photos")
MAPS = ("semantic_masks", "semantic_voc", "semantic_coco", "ade20k", "cityscapes")
CLASSES = ("class_folders", "class_csv")


def task_of_format(source_format: str) -> str:
    """Returns the task whose annotations a format holds; that of boxes where the format is yet to be detected."""
    if source_format in MAPS:
        return "segmentation"
    return "classification" if source_format in CLASSES else "detection"
