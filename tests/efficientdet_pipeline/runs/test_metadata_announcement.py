"""Options logged at the start of a run."""

import logging
from pathlib import Path

import pytest
from absl import logging as absl_logging

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.options.hparams import read_hparams
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.runs.metadata import log_options

DEMO = Path(__file__).resolve().parents[3] / "params.config"


def said(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Returns all log messages about a command line."""
    lines: list[str] = []
    monkeypatch.setattr(absl_logging.get_absl_logger(), "handle", lambda record: lines.append(_line(record)))
    absl_logging.set_verbosity(absl_logging.INFO)
    reader = Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)
    read = reader.read(arguments, {})
    given = read.given.get("hparams")
    hparams = read_hparams(given.value if given else "", "a test", MODES[read.mode].options_class())
    log_options(Path("runs/x"), reader.build(read, reader.classes[read.mode], hparams.options), read, hparams)
    return "\n".join(lines)


def _line(record: logging.LogRecord) -> str:
    return f"{record.levelname} {record.getMessage()}"


def test_what_differs_is_reported_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, "--url_dataset=a.zip", "--hparams=learning_rate=0.2,fpn_cell_repeats=1")
    assert "url_dataset = a.zip  (the command line)" in text
    assert "learning_rate = 0.2  (--hparams" in text
    assert "network: fpn_cell_repeats = 1  (--hparams)" in text
    assert "batch_size" not in text


def test_the_demo_does_not_warn_of_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "WARNING" not in said(monkeypatch, f"@{DEMO}")


def test_demo_settings_with_own_images_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, f"@{DEMO}", "--url_dataset=photos.zip", "--num_epochs=50")
    (warning,) = [line for line in text.splitlines() if line.startswith("WARNING")]
    assert "Demo settings are used with your own images" in warning
    assert "image_size=96" in warning
    assert "pretrained_ckpt=none" in warning
    assert "num_epochs" not in warning
    assert "url_dataset" not in warning


@pytest.mark.parametrize("option", ["--eval_master=x", "--num_cores=8", "--tpu_zone=eu", "--gcp_project=p"])
def test_options_without_effect_say_why(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has no effect" in said(monkeypatch, "--url_dataset=a.zip", option)
