"""The Python API: lazy import, checked keyword arguments, our exceptions, any thread, the caller's logging."""

import io
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import efficientdet_pipeline as edp
from efficientdet_pipeline.demo_dataset import write_demo_dataset


def test_api_import_leaves_tensorflow_and_keras_out() -> None:
    script = "import sys, efficientdet_pipeline as e; e.train; print({'tensorflow', 'keras'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_epoch": 3}, "Unknown argument num_epoch; did you mean num_epochs"),
        ({"num_epochs": "3"}, "num_epochs must be an int.*the argument num_epochs"),
        ({"num_epochs": 0}, "num_epochs came from the argument num_epochs"),
        ({"mode": "eval"}, "mode must be"),
    ],
)
def test_train_refuses_wrong_arguments(options: dict[str, Any], words: str) -> None:
    with pytest.raises(edp.OptionsError, match=words):
        edp.train("images.zip", **options)


def test_convert_runs_in_a_thread_and_restores_logging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo_dataset(tmp_path / "d.zip", num_images=12, image_size=(72, 64))
    before, made = list(logging.getLogger().handlers), []
    options: dict[str, Any] = {"num_workers": 1, "cache_dir": tmp_path / "cache"}
    thread = threading.Thread(target=lambda: made.append(edp.convert(tmp_path / "d.zip", "shards", **options)))
    thread.start()
    thread.join()
    assert made[0].splits["train"].num_images > 0
    assert (tmp_path / "shards" / "manifest.json").is_file()
    assert set(logging.getLogger().handlers) == set(before)


def test_convert_raises_our_error_for_a_missing_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(edp.MissingError):
        edp.convert("nothing.zip", "shards")


@pytest.mark.parametrize("form", ["run", "saved_model", "frozen_graph"])
def test_detector_finds_the_same_in_a_file_and_an_array(
    form: str, toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = toy_run if form == "run" else getattr(edp.export(toy_run, tmp_path / "out"), form)
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(image).save("a.png")
    of_file, of_array = edp.Detector(model, min_score_thresh=0.0)(["a.png", image])
    count = len(of_file)
    assert count > 0
    assert of_file.boxes.shape == (count, 4)
    assert of_file.class_ids.shape == of_file.class_names.shape == of_file.scores.shape == (count,)
    assert set(of_file.class_names.tolist()) <= {"circle", "square", "star", "triangle"}
    np.testing.assert_array_equal(of_file.boxes, of_array.boxes)
    np.testing.assert_array_equal(of_file.scores, of_array.scores)


def test_detector_raises_our_errors(toy_run: Path) -> None:
    detector = edp.Detector(toy_run)
    with pytest.raises(edp.MissingError, match=r"nothing\.jpg"):
        list(detector("nothing.jpg"))
    with pytest.raises(edp.DataError, match="uint8 RGB"):
        list(detector([np.zeros((4, 4, 3), np.float32)]))
    with pytest.raises(edp.DataError, match=r"Received uint8 of shape \(4, 5\)"):
        list(detector(np.zeros((4, 5), np.uint8)))
    with pytest.raises(edp.DataError, match=r"Received the folder .*glob\('\*\.jpg'\)"):
        list(detector(toy_run))
    image: Any
    for image in (Image.new("RGB", (4, 4)), b"image", io.BytesIO(), None):
        with pytest.raises(edp.DataError, match=f"Received {type(image).__name__}; of an image of Pillow"):
            list(detector(image))
    with pytest.raises(edp.MissingError):
        edp.Detector("nothing")
