"""Tests of the summary of a checkpoint, which uses only names."""

from pathlib import Path
from typing import Any

import efficientdet
import h5py
import pytest
from efficientdet.checkpoint.summary import summarize_checkpoint
from efficientdet.errors import CheckpointError

SMALL: dict[str, Any] = {"image_size": 64, "num_classes": 3}


@pytest.mark.parametrize(("file", "kind"), [("model.ckpt", "tf1"), ("weights.h5", "h5"), ("model.weights.h5", "keras")])
def test_summarize_checkpoint_tells_a_detector(file: str, kind: Any, tmp_path: Path, monkeypatch: Any) -> None:
    detector = efficientdet.build_model(efficientdet.get_config("efficientdet-lite0", **SMALL))
    efficientdet.save_checkpoint(detector, tmp_path / file, format=kind)
    summary = summarize_checkpoint(tmp_path / file)
    assert "efficientdet-lite0" in summary.networks
    assert summary.detectors == summary.networks
    assert (summary.is_backbone, summary.origin) == (False, None)


def test_summarize_checkpoint_tells_a_backbone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "backbone.h5", "w") as file:
        file.create_dataset("efficientnet-lite3/efficientnet-lite3/stem/conv2d/kernel:0", data=[1.0])
    summary = summarize_checkpoint(tmp_path / "backbone.h5")
    assert (summary.networks, summary.is_backbone) == (("efficientnet-lite3",), True)
    assert summary.detectors == ("efficientdet-lite3", "efficientdet-lite3x")


def test_summarize_checkpoint_refuses_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(CheckpointError, match="must be a complete checkpoint"):
        summarize_checkpoint(tmp_path / "a.h5")
