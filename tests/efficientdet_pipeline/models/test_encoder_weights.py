"""Encoder weights of segmentation and classification: refusals name flags of the task, not arguments of the library."""

from pathlib import Path

import h5py
import pytest
from efficientdet.errors import CheckpointMismatchError
from efficientdet.imagenet import build_encoder

from efficientdet_pipeline.models.encoder_weights import load_encoder_weights
from efficientdet_pipeline.models.pretrained import StartWeights, check_pretrained
from efficientdet_pipeline.options.model import PretrainedOptions


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Returns a file with a variable of EfficientNet-lite0."""
    path = tmp_path / "lite0.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("efficientnet-lite0/efficientnet-lite0/stem/conv2d/kernel:0", (3, 3, 3, 32))
    return path


def models_with(backbone: str) -> tuple[str, ...]:
    return (f"unet-{backbone}",)


def test_load_encoder_weights_refuses_another_encoder_in_terms_of_flags(foreign: Path) -> None:
    given = PretrainedOptions(backbone_ckpt=str(foreign))
    with pytest.raises(CheckpointMismatchError, match=r"must contain the backbone efficientnet-b0") as early:
        check_pretrained(given, "efficientnet-b0", cache_dir="", models_with=models_with)

    start, encoder = StartWeights("backbone_ckpt", str(foreign), True), build_encoder("efficientnet-b0")
    encoder.build((None, None, None, 3))
    with pytest.raises(CheckpointMismatchError, match="Of the 304 variables of the backbone, 0 fit") as late:
        load_encoder_weights(encoder, "efficientnet-b0", given, start, cache_dir="", models_with=models_with)

    for caught in (early, late):
        assert str(caught.value).endswith("(--backbone_ckpt) Try --model_name=unet-efficientnet-lite0.")
        assert "exclude" not in str(caught.value)


def test_load_encoder_weights_records_random_weights() -> None:
    start = StartWeights("pretrained_ckpt", "", False, "Initial weights: random.")
    encoder, given = build_encoder("efficientnet-lite0"), PretrainedOptions()
    found = load_encoder_weights(encoder, "efficientnet-lite0", given, start, cache_dir="", models_with=models_with)
    assert found == (None, {"pretrained": None, "initial_weights": "Initial weights: random."})
