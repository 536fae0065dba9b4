"""Tests of the error for a checkpoint of another model, which names the model."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from efficientdet.checkpoint.matching import match, refuse_stranger
from efficientdet.checkpoint.reader import Contents
from efficientdet.config import get_config
from efficientdet.errors import CheckpointMismatchError


@pytest.mark.parametrize(
    ("backbone", "models"),
    [
        ("efficientnet-lite0", ("efficientdet-lite0",)),
        ("efficientnet-lite3", ("efficientdet-lite3", "efficientdet-lite3x")),
        ("efficientnet-b6", ("efficientdet-d6", "efficientdet-d7")),
        ("efficientnet-b8", ()),
    ],
)
def test_refuse_stranger_names_the_detectors_of_a_backbone(backbone: str, models: tuple[str, ...]) -> None:
    config = get_config("efficientdet-d0")
    key, name = f"{backbone}/stem/conv2d/kernel", "efficientnet-b0/stem/conv2d/kernel"
    contents = Contents(format="TF1", shapes={key: (3, 3, 3, 32)}, keys={}, read=lambda _: np.zeros(()))
    matched = match(contents, {name: SimpleNamespace(shape=(3, 3, 3, 32))}, config, None)
    with pytest.raises(CheckpointMismatchError, match=f"looks like one of {backbone}") as caught:
        refuse_stranger(contents, matched, config, Path("x"))
    assert caught.value.likely_models == models
    assert "--" not in str(caught.value)  # A library has no command-line options.
    if models:
        assert f"the backbone of {' and '.join(models)}. Build that network" in str(caught.value)
    assert "exclude" in str(caught.value)
    assert "exclude" not in caught.value.finding
    assert caught.value.likely_backbones == (backbone,)
