"""An export is one folder, written atomically, with checksums and a model card."""

import gc
import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from efficientdet_pipeline.errors import AccuracyError, DataError, OptionsError
from efficientdet_pipeline.export.bundle import Description, write_bundle
from efficientdet_pipeline.export.formats import FORMATS, ExportFormat
from efficientdet_pipeline.export.gate import GateReport, Measured
from efficientdet_pipeline.export.model_card import ModelFacts
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.thresholds import Thresholds, read_thresholds
from efficientdet_pipeline.models.description import config_beside


def text_format(content: str, name: str = "text") -> ExportFormat:
    def write(detector: TrainedDetector, path: Path) -> Any:
        del detector
        if content == "fails":
            raise DataError("no such luck")
        if content == "rough":
            raise AccuracyError("2 dB where 3 dB are required.")
        path.write_text(content)
        return {"logits": 80.0}

    return ExportFormat(name=name, file=f"{{model}}.{name}", write=write, load=None)


def test_write_bundle_describes_the_artifacts(
    detector: TrainedDetector, tmp_path: Path, num_unchanged: Callable[[Path], int]
) -> None:
    folder = tmp_path / "export"
    facts = ModelFacts(data="Nine drawn images.", metrics={"AP": 0.5})
    thresholds = Thresholds(0.4, {2: 0.6})
    description = Description(thresholds=thresholds, facts=facts)
    bundle = write_bundle(detector, folder, [text_format("a")], description=description)
    assert bundle.artifacts["text"].read_text() == "a"
    assert bundle.decibels == {"text": {"logits": 80.0}}
    assert yaml.safe_load((folder / "label_map.yaml").read_text(encoding="utf-8")) == dict(detector.label_map)
    assert config_beside(bundle.artifacts["text"]) == detector.config
    assert read_thresholds(folder / "thresholds.yaml") == thresholds
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Nine drawn images." in card
    assert "| AP | 0.5000 |" in card
    assert "Not stated by the author of the export." in card
    assert num_unchanged(folder) == 5


class Cycle:
    """An object that refers to itself, as graphs do."""

    def __init__(self) -> None:
        self.own = self


def test_write_bundle_frees_the_graphs_of_a_format_before_the_next(detector: TrainedDetector, tmp_path: Path) -> None:
    left: list[weakref.ref[Cycle]] = []
    alive: list[bool] = []

    def write(detector: TrainedDetector, path: Path) -> None:
        del detector
        alive.extend(each() is not None for each in left)
        left.append(weakref.ref(Cycle()))
        path.write_text("a")

    formats = [ExportFormat(name=name, file=f"{{model}}.{name}", write=write, load=None) for name in ("one", "two")]
    gc.disable()
    try:
        write_bundle(detector, tmp_path / "export", formats)
    finally:
        gc.enable()
    assert alive == [False]


def test_write_bundle_forgets_the_served_graphs_after_their_last_format(
    detector: TrainedDetector, tmp_path: Path
) -> None:
    states: dict[str, bool] = {}

    def form(name: str, *, is_served: bool) -> ExportFormat:
        def write(detector: TrainedDetector, path: Path) -> None:
            states[name] = "served" in detector.__dict__
            if is_served:
                detector.__dict__.setdefault("served", Cycle())
            path.write_text("a")

        return ExportFormat(name=name, file=f"{{model}}.{name}", write=write, load=None, is_served=is_served)

    formats = [form("one", is_served=True), form("two", is_served=True), form("three", is_served=False)]
    write_bundle(detector, tmp_path / "export", formats)
    assert states == {"one": False, "two": True, "three": False}
    assert [name for name, each in FORMATS.items() if each.is_served] == ["saved_model", "frozen"]


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
    with pytest.raises(OptionsError, match="must not exist, or be part of an earlier export"):
        write_bundle(detector, foreign, [text_format("a")])


def test_write_bundle_keeps_what_the_gate_allows(detector: TrainedDetector, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    formats = [text_format("a", "good"), text_format("b", "bad")]

    def measure(staging: Path, written: Sequence[ExportFormat], decibels: Mapping[str, object]) -> GateReport:
        assert decibels.keys() == {"good", "bad"}
        assert (staging / "hparams_config.yaml").is_file()
        drops = {"good": 0.001, "bad": 0.2}
        measured = [
            Measured(name=each.name, bytes=1, score=0.5 - drops[each.name], per_class={}, drop=drops[each.name],
                     max_drop=0.005, canvas_drop=None, suppression_drop=None, milliseconds=None, decibels={})
            for each in written
        ]  # fmt: skip
        return GateReport(score=0.5, per_class={}, milliseconds=None, artifacts=tuple(measured), num_images=9)

    files = write_bundle(detector, folder, formats, measure=measure)
    assert files.artifacts.keys() == {"good"}
    assert not (folder / "efficientdet-lite0.bad").exists()
    verdicts = {
        each["name"]: each["is_within"] for each in json.loads((folder / "report.json").read_text())["artifacts"]
    }
    assert verdicts == {"good": True, "bad": False}
    assert "| bad | 0.3000 |" in (folder / "MODEL_CARD.md").read_text()
    with pytest.raises(OptionsError, match=r"must have the format saved_model. Received good"):
        _ = files.saved_model
    write_bundle(detector, folder, formats[:1])
    assert not (folder / "report.json").exists()


def test_write_bundle_leaves_out_formats_that_are_not_accurate(
    detector: TrainedDetector, tmp_path: Path, num_unchanged: Callable[[Path], int]
) -> None:
    folder = tmp_path / "export"
    files = write_bundle(detector, folder, [text_format("rough", "int8"), text_format("a")])
    assert files.artifacts == {"text": folder / "efficientdet-lite0.text"}
    assert num_unchanged(folder) == 5
    with pytest.raises(AccuracyError, match=r"Not written: int8. 2 dB where .* The other formats are in .*export"):
        files.check_complete()
    with pytest.raises(AccuracyError, match="2 dB where"):
        write_bundle(detector, tmp_path / "none", [text_format("rough", "int8")])
    assert not (tmp_path / "none").exists()
