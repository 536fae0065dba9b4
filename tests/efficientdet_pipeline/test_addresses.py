"""Local paths that stand for addresses are known, also as the beginning of others."""

import pytest

from efficientdet_pipeline import addresses


def test_addresses_take_the_place_of_local_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_addresses", {})
    addresses.remember_address("/c/runs", "gs://b/runs/")
    addresses.remember_address("/c/runs/a/shards", "gs://b/shards")
    assert addresses.address_of("/c/runs") == "gs://b/runs/"
    assert addresses.address_of("/c/runs/a") == "/c/runs/a"
    assert addresses.with_addresses("--model_dir=/c/runs/a") == "--model_dir=gs://b/runs/a"
    assert addresses.with_addresses("/c/runs/a/shards/train-*") == "gs://b/shards/train-*"
    assert addresses.with_addresses("/other") == "/other"
