"""The summary of a conversion on the console."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from efficientdet_pipeline.data.conversion import log_summary


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
    split = SimpleNamespace(
        num_images=3, num_negatives=1, num_boxes=sum(boxes_per_class.values()), boxes_per_class=boxes_per_class
    )
    caplog.set_level("INFO", logger="absl")
    log_summary(SimpleNamespace(splits={"val": split}, options={}, problems={}), Path("problems.jsonl"))
    assert caplog.messages[0] == said
