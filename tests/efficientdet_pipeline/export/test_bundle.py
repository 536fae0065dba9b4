"""An export is one folder, whole or not at all, with checksums and a card."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.export.bundle import check_checksums, write_bundle
from efficientdet_pipeline.export.formats import ExportFormat
from efficientdet_pipeline.export.model_card import ModelFacts
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.artifacts import config_beside
from efficientdet_pipeline.inference.thresholds import Thresholds, read_thresholds


def text_format(content: str, name: str = "text") -> ExportFormat:
    def write(detector: TrainedDetector, path: Path) -> Any:
        del detector
        if content == "fails":
            raise DataError("no such luck")
        path.write_text(content)
        return {"logits": 80.0}

    return ExportFormat(name=name, file=f"{{model}}.{name}", write=write, load=None)


def test_write_bundle_describes_the_artifacts(detector: TrainedDetector, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    facts = ModelFacts(data="Nine drawn images.", metrics={"AP": 0.5})
    thresholds = Thresholds(0.4, {2: 0.6})
    bundle = write_bundle(detector, folder, [text_format("a")], thresholds=thresholds, facts=facts)
    assert bundle.artifacts["text"].read_text() == "a"
    assert bundle.decibels == {"text": {"logits": 80.0}}
    assert yaml.safe_load((folder / "label_map.yaml").read_text(encoding="utf-8")) == dict(detector.label_map)
    assert config_beside(bundle.artifacts["text"]) == detector.config
    assert read_thresholds(folder / "thresholds.yaml") == thresholds
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Nine drawn images." in card
    assert "| AP | 0.5000 |" in card
    assert "Not stated by whoever exported the model." in card
    assert check_checksums(folder) == 5
    done = subprocess.run(["sha256sum", "--check", "sha256sums.txt"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0


def test_write_bundle_replaces_an_earlier_one_alone(detector: TrainedDetector, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    write_bundle(detector, folder, [text_format("a"), text_format("b", "other")])
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="no such luck"):
        write_bundle(detector, folder, [text_format("c"), text_format("fails", "other")])
    assert (folder / "efficientdet-lite0.text").read_text() == "a"
    write_bundle(detector, folder, [text_format("c")])
    assert (folder / "efficientdet-lite0.text").read_text() == "c"
    assert not (folder / "efficientdet-lite0.other").exists()
    assert (folder / "mine.txt").read_text() == "mine"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "MODEL_CARD.md").write_text("mine")
    with pytest.raises(OptionsError, match="not written by an earlier call"):
        write_bundle(detector, foreign, [text_format("a")])


def test_check_checksums_finds_what_changed(detector: TrainedDetector, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    write_bundle(detector, folder, [text_format("a")])
    (folder / "efficientdet-lite0.text").write_text("b")
    with pytest.raises(DataError, match="Received another content"):
        check_checksums(folder)
    (folder / "efficientdet-lite0.text").unlink()
    with pytest.raises(DataError, match="Received nothing"):
        check_checksums(folder)
    with pytest.raises(DataError, match=r"must hold an export with sha256sums.txt"):
        check_checksums(tmp_path)
