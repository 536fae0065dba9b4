"""Batch sizes come sorted and checked; without any, they lie around the training's own."""

from typing import Any

import pytest
from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.benchmark import BenchmarkOptions
from efficientdet_pipeline.options.sweep import batch_sizes


def sweep(**given: Any) -> BenchmarkOptions:
    return BenchmarkOptions(**{"mode": "benchmark", "what": "train", "url_dataset": "demo", **given})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (4, 8, 16)),
        ({"batch_size": 3}, (3, 6)),
        ({"batch_size": 8, "accumulate_steps": 8}, (8, 16)),
        ({"batch_size": 8, "strategy": "gpus"}, (8, 16)),
        ({"batch_sizes": "32, 8,16,8"}, (8, 16, 32)),
    ],
)
def test_batch_sizes(given: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert batch_sizes(sweep(**given)) == expected


@pytest.mark.parametrize("text", ["8;16", "0", "8,", "-4", "4.5", "eight"])
def test_what_is_no_list_of_sizes_is_told(text: str) -> None:
    with pytest.raises(OptionsError, match=r"batch_sizes must be whole numbers above 0.*try 8,16,32"):
        sweep(batch_sizes=text)


def test_what_a_training_finds_out_is_no_size_to_measure() -> None:
    with pytest.raises(OptionsError, match=r"batch_size=auto.*try --batch_sizes=8,16,32"):
        sweep(batch_size=0)
    assert batch_sizes(sweep(batch_size=0, batch_sizes="4")) == (4,)


def test_no_time_is_no_measurement() -> None:
    with pytest.raises(OptionsError, match="benchmark_seconds must be above 0"):
        sweep(benchmark_seconds=0.0)


def test_sizes_without_a_sweep_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sweep(what="loader", batch_sizes="8")
    assert "have no effect without --what=train" in caplog.text
