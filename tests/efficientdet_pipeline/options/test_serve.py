"""Limits of the server are checked, and local addresses are recognized."""

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.serve import ServerOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", " "),
        ("port", 65536),
        ("port", -1),
        ("max_request_mb", 0.0),
        ("max_megapixels", -1.0),
        ("max_batch_size", 0),
        ("batch_delay_ms", -1.0),
        ("max_pending", 0),
        ("request_timeout", float("inf")),
    ],
)
def test_server_options_are_checked(name: str, value: object) -> None:
    with pytest.raises(OptionsError, match=f"{name} must be .* Received {value!r}"):
        compose(ServerOptions, **{name: value})


def test_server_options_know_a_local_address() -> None:
    assert compose(ServerOptions).is_local
    assert not compose(ServerOptions, host="0.0.0.0").is_local
