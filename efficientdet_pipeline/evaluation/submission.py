"""Submission to COCO's test-dev server: detections with COCO's class ids and file name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from efficientdet_pipeline.evaluation.detections_file import write_submission
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.options.known_label_maps import KNOWN_LABEL_MAPS
from tfrmod.counted import counted


def write_test_dev(
    folder: str, detected: Sequence[ImageDetections], *, name: str, label_map: Mapping[int, str]
) -> Path:
    """Writes the submission and returns its path; warns of classes that are not COCO's.

    Args:
      folder: created if missing.
      detected: detections in all images of test-dev.
      name: of the detector, for the file name.
      label_map: class id of the detector to name.

    Raises:
      DataError: an image has no COCO id.
    """
    coco = KNOWN_LABEL_MAPS["coco"]
    wrong = [class_name for class_id, class_name in label_map.items() if coco.get(class_id) != class_name]
    if wrong or not label_map:
        logging.warning(
            "Not all classes are COCO's, whose ids the server expects: %s. The submission uses the detector's ids.",
            ", ".join(wrong[:5]) or "the detector has no names",
        )
    path = write_submission(Path(folder).expanduser(), detected, algorithm=name)
    logging.info(
        "Detections in %s are in %s. Metrics are not computed: COCO does not publish the ground truth.",
        counted(len(detected), "image"),
        path,
    )
    return path
