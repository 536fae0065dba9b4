"""Warnings of absent classes."""

import pytest

from efficientdet_pipeline.data.absent_classes import log_absent_classes


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, "a"), (5, "a, b, c, d, e"), (6, "a, b, c, d, e and 1 other class"), (8, "a, b, c, d, e and 3 other classes")],
)
def test_log_absent_classes_names_five(caplog: pytest.LogCaptureFixture, count: int, names: str) -> None:
    log_absent_classes("training image", list("abcdefgh")[:count], "the network cannot learn this")
    assert [record.getMessage() for record in caplog.records] == [
        f"No training image is of {names}: the network cannot learn this."
    ]


def test_log_absent_classes_is_silent_without_any(caplog: pytest.LogCaptureFixture) -> None:
    log_absent_classes("training image", [], "the network cannot learn this")
    assert not caplog.records
