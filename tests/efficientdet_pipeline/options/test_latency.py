"""Options of the latency benchmark."""

from typing import Any

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.benchmark import BenchmarkOptions
from efficientdet_pipeline.options.schema import compose, options_without_effect


def latency(**options: Any) -> BenchmarkOptions:
    return compose(BenchmarkOptions, mode="benchmark", what="latency", **options)


def test_latency_needs_no_data_and_has_defaults_of_its_own() -> None:
    options = latency(thread_counts="2,1", latency_image="640x360")
    assert options.num_rounds == 30
    assert options.measured_batch_sizes() == (1,)
    assert options.latency.threads() == (1, 2)
    assert options.latency.image_size == (360, 640)
    with pytest.raises(OptionsError, match="No data"):
        compose(BenchmarkOptions, mode="benchmark", what="loader")


def test_latency_names_what_has_no_effect() -> None:
    assert {"num_epochs", "mosaic", "url_dataset"} <= options_without_effect(latency()).keys()
    assert not {"model_dir", "run_name", "path_ckpt", "image_size"} & options_without_effect(latency()).keys()
    others = options_without_effect(compose(BenchmarkOptions, mode="benchmark", url_dataset="demo"))
    assert {"artifacts", "thread_counts", "path_ckpt"} <= others.keys()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latency_image": "640"}, "WIDTHxHEIGHT"),
        ({"thread_counts": "0"}, "thread_counts must be comma-separated integers"),
        ({"warmup": 0}, "warmup must be"),
        ({"rounds": 0}, "rounds must be"),
    ],
)
def test_latency_refuses_wrong_numbers(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        latency(**options)
