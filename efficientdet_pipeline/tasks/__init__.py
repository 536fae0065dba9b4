"""Tasks, detection and segmentation: what the trainer needs of each."""

from collections.abc import Callable

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.tasks.task import Task


def _detection() -> Task:
    from efficientdet_pipeline.tasks.detection_with_map import DetectionWithMapTask

    return DetectionWithMapTask()


def _segmentation() -> Task:
    from efficientdet_pipeline.tasks.segmentation import SegmentationTask

    return SegmentationTask()


def _detection_by_parts() -> Task:
    from efficientdet_pipeline.tasks.detection_parts import DetectionPartsTask

    return DetectionPartsTask()


def _classification() -> Task:
    from efficientdet_pipeline.tasks.classification import ClassificationTask

    return ClassificationTask()


TASKS: dict[str, Callable[[], Task]] = {
    "detection": _detection,
    "detection_parts": _detection_by_parts,
    "segmentation": _segmentation,
    "classification": _classification,
}
"""Name → function that returns the task; its module is imported on first use."""


def task_key(options: ModelOptions) -> str:
    """Returns the name of the task of the options; detectors built from parts have their own task."""
    return "detection_parts" if options.model_config else options.task_name


def task_of(options: ModelOptions) -> Task:
    """Returns the task of the options."""
    return task_named(task_key(options))


def task_named(name: str) -> Task:
    """Returns the task with the given name.

    Raises:
      OptionsError: the task is unknown.
    """
    if name not in TASKS:
        raise OptionsError(f"task must be one of {', '.join(TASKS)}. Received {name!r}.", option="task")
    return TASKS[name]()
