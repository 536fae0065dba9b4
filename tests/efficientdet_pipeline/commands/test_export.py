"""--mode=export: written files, measurements and refusals."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.benchmarking.export_gate import ExportGate
from efficientdet_pipeline.errors import ExitCode
from efficientdet_pipeline.export.formats import FORMATS, ExportFormat
from efficientdet_pipeline.export.quantization_search import LayerRatio


@pytest.fixture
def exported(main: Callable[..., int], toy_run: Path, tmp_path: Path) -> Path:
    code = main(
        "--mode=export",
        f"--path_ckpt={toy_run}",
        "--path_output=out",
        "--formats=frozen",
        "--gate_images=2",
        *("--quant_debug", "--quant_recipe=missing.yaml"),  # Without effect: no int8 TFLite file is written.
        "--intended_use=Counting shapes.",
        "--model_license=Apache-2.0",
    )
    assert code == 0
    return tmp_path / "out"


def test_export_writes_and_measures_everything(
    exported: Path, said: Callable, num_unchanged: Callable[[Path], int]
) -> None:
    assert {path.name for path in exported.iterdir() if not path.name.startswith(".")} == {
        *("efficientdet-lite0_frozen.pb", "label_map.yaml", "hparams_config.yaml", "thresholds.yaml"),
        *("MODEL_CARD.md", "sha256sums.txt", "report.json"),
    }
    report = json.loads((exported / "report.json").read_text())
    assert report["num_images"] == 2
    assert [each["name"] for each in report["artifacts"]] == ["frozen"]
    assert report["artifacts"][0]["is_within"]
    card = (exported / "MODEL_CARD.md").read_text()
    assert "Counting shapes." in card
    assert "Apache-2.0" in card
    assert num_unchanged(exported) == 6


def test_export_refuses_before_it_writes(
    main: Callable[..., int], toy_run: Path, tmp_path: Path, said: Callable
) -> None:
    common = ("--mode=export", "--path_output=out")
    assert main(*common, f"--path_ckpt={toy_run}", "--formats=coreml") == ExitCode.OPTIONS
    assert "formats must be one of saved_model, frozen, tflite" in said().err
    assert main(*common, f"--path_ckpt={toy_run}", "--quant_debug", "--nogate") == ExitCode.OPTIONS
    (tmp_path / "taken").write_text("mine")
    assert main(*common, f"--path_ckpt={toy_run}", "--serving_dir=taken") == ExitCode.OPTIONS
    assert "serving_dir must be a folder, or not exist. Received 'taken', which is a file" in said().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "MODEL_CARD.md").write_text("mine")
    assert main(*common, f"--path_ckpt={toy_run}", "--nogate") == ExitCode.OPTIONS
    assert "MODEL_CARD.md must not exist, or be part of an earlier export" in said().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["MODEL_CARD.md"]


def test_export_fails_where_an_artifact_lost_accuracy(
    main: Callable[..., int], toy_run: Path, tmp_path: Path, said: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind:
        def detect(self, images: np.ndarray) -> Detections:
            none = np.zeros((len(images), 0))
            return Detections(np.zeros((len(images), 0, 4)), none, none, np.zeros(len(images), int))

    seen = Blind()
    blind = ExportFormat(
        name="tflite_int8",
        file="{model}_blind.tflite",
        write=lambda detector, path: path.write_text("x"),
        load=lambda path, config: Blind(),
        is_quantized=True,
    )
    good = dataclasses.replace(
        blind, name="frozen", file="{model}_frozen.pb", load=lambda path, config: seen, is_quantized=False
    )
    monkeypatch.setitem(FORMATS, "tflite_int8", blind)
    monkeypatch.setitem(FORMATS, "frozen", good)
    monkeypatch.setattr(ExportGate, "checkpoint", seen)
    monkeypatch.setattr(
        ExportGate, "evaluate", lambda self, predictor: {"AP": 0.5 if predictor is seen else 0.2, "per_class": {}}
    )
    ratios = [LayerRatio("head/predict;head/bias", "CONV_2D", 12.0)]
    search = type("Search", (), {"__init__": lambda self, detector: None, "layer_ratios": lambda self: ratios})
    monkeypatch.setattr("efficientdet_pipeline.benchmarking.export_gate.QuantizationSearch", search)
    code = main(
        "--mode=export",
        f"--path_ckpt={toy_run}",
        "--path_output=out",
        "--formats=frozen,tflite_int8",
        "--gate_images=2",
    )
    assert code == ExitCode.ACCURACY_LOST
    message = said().err
    assert "tflite_int8 has AP 0.2000, 0.3000 below the checkpoint's 0.5000 (limit 0.01)" in message
    assert "Lowest signal-to-noise ratios in tflite_int8: head/predict (12 dB)" in message
    assert (tmp_path / "out" / "efficientdet-lite0_frozen.pb").is_file()
    assert not (tmp_path / "out" / "efficientdet-lite0_blind.tflite").exists()
