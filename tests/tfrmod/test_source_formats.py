"""Names of annotation formats: those of the readers, each with its task."""

from tfrmod.source_formats import BOXES, CLASSES, MAPS, task_of_format
from tfrmod.sources import CLASS_SOURCES, SEMANTIC_SOURCES, SOURCES


def test_source_formats_are_those_of_the_readers() -> None:
    assert (*BOXES, *MAPS, *CLASSES) == tuple(SOURCES)
    assert (tuple(SEMANTIC_SOURCES), tuple(CLASS_SOURCES)) == (MAPS, CLASSES)


def test_task_of_format_knows_every_format() -> None:
    tasks = {name: task_of_format(name) for name in ("", *SOURCES)}
    assert {name for name, task in tasks.items() if task == "segmentation"} == set(MAPS)
    assert {name for name, task in tasks.items() if task == "classification"} == set(CLASSES)
