"""Options of the benchmark: batch sizes are sorted and checked, with defaults around that of training."""

from typing import Any

import pytest
from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.benchmark import BenchmarkOptions
from efficientdet_pipeline.options.schema import compose


def sweep(**given: Any) -> BenchmarkOptions:
    return compose(BenchmarkOptions, **{"mode": "benchmark", "what": "train", "url_dataset": "demo", **given})


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
def test_measured_batch_sizes(given: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert sweep(**given).measured_batch_sizes() == expected


@pytest.mark.parametrize("text", ["8;16", "0", "8,", "-4", "4.5", "eight"])
def test_measured_batch_sizes_rejects_other_text(text: str) -> None:
    with pytest.raises(OptionsError, match=r"batch_sizes must be comma-separated integers above 0.*try 8,16,32"):
        sweep(batch_sizes=text)


def test_measured_batch_sizes_rejects_auto() -> None:
    with pytest.raises(OptionsError, match=r"batch_size=auto.*try --batch_sizes=8,16,32"):
        sweep(batch_size=0)
    assert sweep(batch_size=0, batch_sizes="4").measured_batch_sizes() == (4,)
    with pytest.raises(OptionsError, match=r"what=loader .*batch_size=auto.*try --batch_size=8\."):
        sweep(batch_size=0, what="loader")


def test_benchmark_seconds_must_be_positive() -> None:
    with pytest.raises(OptionsError, match="benchmark_seconds must be above 0"):
        sweep(benchmark_seconds=0.0)


def test_batch_sizes_without_train_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        sweep(what="loader", batch_sizes="8")
    assert "batch_sizes has no effect with --what=loader" in caplog.text
