"""--mode=export: what it writes, measures and refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from efficientdet_pipeline.errors import ExitCode
from efficientdet_pipeline.export.bundle import check_checksums


@pytest.fixture
def exported(main: Callable[..., int], toy_run: Path, tmp_path: Path) -> Path:
    code = main(
        "--mode=export",
        f"--path_ckpt={toy_run}",
        "--path_output=out",
        "--formats=frozen",
        "--gate_images=2",
        "--intended_use=Counting shapes.",
        "--model_license=Apache-2.0",
    )
    assert code == 0
    return tmp_path / "out"


def test_export_writes_and_measures_everything(exported: Path, said: Callable) -> None:
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
    assert check_checksums(exported) == 6


def test_export_refuses_before_it_writes(
    main: Callable[..., int], toy_run: Path, tmp_path: Path, said: Callable
) -> None:
    common = ("--mode=export", "--path_output=out")
    assert main(*common, f"--path_ckpt={toy_run}", "--formats=coreml") == ExitCode.OPTIONS
    assert "formats must be one of saved_model, frozen, tflite" in said().err
    assert main(*common, f"--path_ckpt={toy_run}", "--quant_debug", "--nogate") == ExitCode.OPTIONS
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "MODEL_CARD.md").write_text("mine")
    assert main(*common, f"--path_ckpt={toy_run}", "--nogate") == ExitCode.OPTIONS
    assert "MODEL_CARD.md must be free, or hold an earlier export" in said().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["MODEL_CARD.md"]
