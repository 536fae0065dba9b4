"""Tasks: what a network learns to predict, and how the trainer handles it."""

import importlib

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.tasks.task import Task

TASKS = {
    "detection": "efficientdet_pipeline.tasks.detection:DetectionTask",
}
"""Name → module and class; a module is imported when its task is asked for."""


def task_named(name: str) -> Task:
    """Returns the task of a name.

    Raises:
      OptionsError: there is none.
    """
    if name not in TASKS:
        raise OptionsError(f"task must be one of {', '.join(TASKS)}. Received {name!r}.", option="task")
    module, _, kind = TASKS[name].partition(":")
    task: Task = getattr(importlib.import_module(module), kind)()
    return task
