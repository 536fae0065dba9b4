"""Detections of the best and of the latest evaluation are kept for the end of a training."""

import pytest

from efficientdet_pipeline.evaluation.kept_detections import Detected, KeptDetections


def kept(aps: list[float]) -> tuple[KeptDetections, list[Detected]]:
    found, made = KeptDetections(), []
    for epoch, ap in enumerate(aps, start=1):
        found.latest = ([], [])
        made.append(found.latest)
        found.keep(epoch, ap)
    return found, made


@pytest.mark.parametrize(
    ("aps", "epochs"),
    [([0.1, 0.3, 0.2], {2, 3}), ([0.3, 0.3, 0.1], {1, 3}), ([0.0, 0.0, 0.0], {3}), ([-1.0, -1.0], {2}), ([], set())],
)
def test_kept_detections_are_those_of_the_best_and_the_last_epoch(aps: list[float], epochs: set[int]) -> None:
    found, made = kept(aps)
    assert {epoch for epoch in range(1, 4) if found.of_epoch(epoch) is not None} == epochs
    assert all(found.of_epoch(epoch) is made[epoch - 1] for epoch in epochs)


def test_kept_detections_without_an_evaluation_keep_nothing() -> None:
    found = KeptDetections()
    found.keep(1, 0.5)
    assert found.of_epoch(1) is None
