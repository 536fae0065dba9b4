"""Label maps that google/automl knows by name: COCO, Pascal VOC and Waymo."""

from tfrmod.class_names import VOC_CLASSES

_COCO_NAMES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard"),
    *("cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors"),
    *("teddy bear", "hair drier", "toothbrush"),
)
# COCO planned 90 classes and annotated 80.
_COCO_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}

KNOWN_LABEL_MAPS: dict[str, dict[int, str]] = {
    "coco": dict(zip([i for i in range(1, 91) if i not in _COCO_UNUSED], _COCO_NAMES, strict=True)),
    "voc": dict(enumerate(VOC_CLASSES, start=1)),
    "waymo": {1: "vehicle", 2: "pedestrian", 3: "cyclist"},
}
"""{name of the label map: {class id: class name}}."""
