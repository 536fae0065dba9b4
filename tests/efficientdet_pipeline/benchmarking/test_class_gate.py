"""The accuracy gate of segmentation: every artifact beside the checkpoint, and what its canvas costs apart."""

from pathlib import Path

import pytest
from small_class_networks import SEGMENTATION, SmallMap, write_discs

from efficientdet_pipeline.benchmarking.class_gate import ClassGate
from efficientdet_pipeline.errors import AccuracyError
from efficientdet_pipeline.export.class_bundle import write_class_bundle
from efficientdet_pipeline.export.class_formats import CLASS_FORMATS, TrainedClassNetwork
from tfrmod.convert import ConvertOptions, convert


def test_class_gate_measures_artifacts_and_refuses_a_large_drop(tmp_path: Path) -> None:
    data = write_discs(tmp_path / "data", count=4)
    made = convert(data, tmp_path / "records", ConvertOptions(semantic=True, num_workers=1, train_valid_split=0.5))
    files = [str(made.folder / shard.name) for shard in made.splits["val"].files]
    trained = TrainedClassNetwork(model=SmallMap(), network=SEGMENTATION)
    gate = ClassGate(trained=trained, files=files, limit=None)
    formats = [CLASS_FORMATS["frozen"], CLASS_FORMATS["tflite"]]
    report = write_class_bundle(trained, tmp_path / "out", formats, measure=gate.measure).report
    assert report is not None
    gate.check(report)
    frozen, tflite = report.artifacts
    assert (report.metric, report.num_images, frozen.canvas_drop) == ("mIoU", 2, None)
    assert frozen.drop == pytest.approx(0, abs=1e-6)
    # Images of 48x40 are enlarged to the canvas of 64x96: other pixels, and no fault of the file.
    assert tflite.canvas_drop == pytest.approx(tflite.drop, abs=1e-3)
    assert (report.milliseconds or 0) > 0
    with pytest.raises(AccuracyError, match=r"frozen has mIoU .*\(limit -1\)"):
        gate.check(ClassGate(trained=trained, files=files, limit=1, max_drop=-1).measure(tmp_path / "out", formats, {}))
