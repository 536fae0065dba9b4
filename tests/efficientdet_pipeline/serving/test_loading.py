"""The service of the detector that options name."""

from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.detector import LoadedDetector
from efficientdet_pipeline.serving import loading
from efficientdet_pipeline.serving.loading import service_of


def test_service_of_takes_limits_and_is_warm(
    monkeypatch: pytest.MonkeyPatch, detector: LoadedDetector, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "load_detector", lambda options, hparams: detector)
    service = service_of([f"--saved_model_dir={tmp_path}", "--max_megapixels=0.01", "--request_timeout=3"])
    assert (service.limits.max_pixels, service.limits.timeout, service.limits.batch_delay) == (10_000, 3.0, 0.005)
    assert detector.predictor.batches == [1]
    assert "efficientdet_images_total 0" in service.metrics.text()
    service.close()


def test_service_of_refuses_a_segmentation_network(tmp_path: Path) -> None:
    (tmp_path / "hparams_config.yaml").write_text("task: segmentation\n")
    with pytest.raises(OptionsError, match="--mode=infer writes the masks"):
        service_of([f"--saved_model_dir={tmp_path}"])
