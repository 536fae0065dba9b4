"""A trained detector in every format, measured, and used in images and in a video, as a user types it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.demo_dataset import write_demo_dataset
from efficientdet_pipeline.export.formats import FORMATS
from efficientdet_pipeline.inference.video import VideoSink, VideoSource

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.slow
SMALL = (
    "--model_name=efficientdet-lite0",
    "--image_size=64",
    "--pretrained_ckpt=none",
    "--batch_size=4",
    "--recipe=none",
)


@pytest.fixture(scope="module")
def export(run: Run, home: Path) -> Path:
    for package in ("onnxruntime", "tf2onnx", "openvino", "nncf"):
        pytest.importorskip(package)
    write_demo_dataset(home / "shapes.zip", num_images=18, image_size=(72, 64))
    trained = run("--url_dataset=shapes.zip", "--num_epochs=1", "--run_name=exported", "--resize=stretch", *SMALL)
    assert trained.returncode == 0, trained.stderr
    done = run("--mode=export", "--run_name=exported", "--formats=all", "--gate_images=3", "--max_ap_drop=1")
    assert done.returncode == 0, done.stderr
    assert "tflite_nms_int8" in done.stdout
    return home / "runs" / "exported" / "export"


def test_every_format_is_written_measured_and_listed(export: Path, num_unchanged: Callable[[Path], int]) -> None:
    report = json.loads((export / "report.json").read_text())
    assert {each["name"] for each in report["artifacts"]} == {name for name, each in FORMATS.items() if each.load}
    assert num_unchanged(export) > len(FORMATS)


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.load])
def test_infer_takes_every_format(name: str, export: Path, run: Run, home: Path) -> None:
    from efficientdet_pipeline.models.description import config_beside

    config = config_beside(export / "x")
    assert config is not None
    assert config.resize == "stretch"
    picture = next((home / "runs" / "exported" / "pictures").glob("*.png"))
    path = FORMATS[name].path(export, config)
    done = run("--mode=infer", f"--saved_model_dir={path}", f"--input_image={picture}", f"--output_image_dir=by_{name}")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads((home / f"by_{name}" / "detections.json").read_text())
    assert record["detections"]


def test_video_by_a_file_of_a_phone(export: Path, run: Run, home: Path) -> None:
    sink = VideoSink(home / "a.avi", rate=12.5, size=(48, 64))
    for number in range(5):
        sink.write(np.full((48, 64, 3), 40 * number, np.uint8))
    sink.close()
    model = export / "efficientdet-lite0_nms.tflite"
    done = run("--mode=video", f"--saved_model_dir={model}", "--input_video=a.avi", "--output_video=out.mp4")
    assert done.returncode == 0, done.stderr
    assert "5 frames" in done.stdout
    assert VideoSource(home / "out.mp4").rate == 12.5
