"""The summary of a conversion on the console."""

from pathlib import Path

import pytest

from efficientdet_pipeline.data.conversion import log_summary
from tfrmod.manifest import Manifest, SplitInfo


@pytest.mark.parametrize(
    ("boxes_per_class", "said"),
    [
        ({"a": 0}, "val   3 images, 1 without objects, 0 boxes"),
        ({"a": 2, "b": 0}, "val   3 images, 1 without objects, 2 boxes (a 2)"),
    ],
)
def test_log_summary_names_the_classes_that_have_boxes(
    boxes_per_class: dict[str, int], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    split = SplitInfo(
        files=(),
        num_images=3,
        num_negatives=1,
        num_boxes=sum(boxes_per_class.values()),
        boxes_per_class=boxes_per_class,
    )
    made = Manifest(source="", options={}, label_map={1: "a", 2: "b"}, splits={"val": split}, max_instances_per_image=2)
    caplog.set_level("INFO", logger="absl")
    log_summary(made, Path("problems.jsonl"))
    assert caplog.messages[0] == said
