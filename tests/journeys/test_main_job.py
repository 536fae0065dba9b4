"""The main job on a few drawn pictures, as a user types it: photos in, detector out, and every mode on the result."""

import csv
import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from efficientdet_pipeline.demo_dataset import write_demo_dataset

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[str]"]

SMALL = (
    "--model_name=efficientdet-lite0",
    "--image_size=64",
    "--pretrained_ckpt=none",
    "--batch_size=4",
    "--run_name=small",
)


@pytest.fixture(scope="module")
def photos(home: Path) -> Path:
    return write_demo_dataset(home / "photos.zip", num_images=18, image_size=(72, 64))


@pytest.fixture(scope="module")
def trained(run: Run, photos: Path) -> subprocess.CompletedProcess[str]:
    return run("--url_dataset=photos.zip", "--num_epochs=2", *SMALL)


@pytest.fixture(scope="module")
def folder(home: Path, trained: subprocess.CompletedProcess[str]) -> Path:
    assert trained.returncode == 0, trained.stdout + trained.stderr
    return home / "runs" / "small"


def test_says_what_it_does_and_what_is_next(trained: subprocess.CompletedProcess[str]) -> None:
    assert trained.returncode == 0, trained.stderr
    assert "url_dataset = photos.zip  (the command line)" in trained.stdout
    assert "train 15 images" in trained.stdout
    assert "main.py --mode=infer" in trained.stdout
    assert "Building the training graph" in trained.stdout
    assert re.search(r"^AP \S+, AP50 \S+, .* of training, .*runs/small$", trained.stdout, re.MULTILINE)
    assert "Traceback" not in trained.stderr


def test_leaves_everything_where_the_readme_says(folder: Path) -> None:
    for name in (
        "args.yaml",
        "metadata.json",
        "tfrecords/manifest.json",
        "tfrecords/hparams_config.yaml",
        "checkpoints/best/model.weights.h5",
        "checkpoints/last/model.weights.h5",
        "results.csv",
        "results.png",
        "metrics.json",
        "pictures/validation.png",
        "report/index.html",
        "report/evaluation.npz",
        "thresholds.yaml",
        "label_errors.csv",
        "confusion_matrix.png",
        "val_batch0_pred.jpg",
        "train_batch0.jpg",
        "labels.jpg",
        "export/saved_model/saved_model.pb",
        "export/efficientdet-lite0_frozen.pb",
        "export/label_map.yaml",
        "export/hparams_config.yaml",
        "log.txt",
    ):
        assert (folder / name).is_file(), name
    assert list((folder / "tensorboard").iterdir())


def test_writes_down_what_it_was_made_from(folder: Path) -> None:
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["url"] == "photos.zip"
    assert metadata["backbone_reference"] == "efficientdet-lite0"
    assert (metadata["epochs"], metadata["train_batch_size"], metadata["mode"]) == (2, 4, "traineval")
    assert metadata["number_of_images"] == {"total": 18, "train": 15, "val": 3, "test": 0}
    args = yaml.safe_load((folder / "args.yaml").read_text())
    assert (args["batch_size"], args["image_size"], args["learning_rate"]) == (4, "64", 0.08)
    hparams = yaml.safe_load((folder / "tfrecords/hparams_config.yaml").read_text())
    assert hparams.keys() == {"num_classes", "label_map", "max_instances_per_image", "image_size"}


def test_measures_every_epoch_and_the_best(folder: Path) -> None:
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["loss"]) > 0 and 0 <= float(row["AP"]) <= 1 for row in rows)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["epoch"] in {1, 2}
    assert metrics["per_class"].keys() == {"circle", "square", "star", "triangle"}
    assert metrics["AP"] == pytest.approx(max(float(row["AP"]) for row in rows), abs=1e-6)


def test_a_finished_run_is_said_to_be_finished(run: Run, folder: Path) -> None:
    before = (folder / "checkpoints/last/checkpoint.json").read_text()
    again = run("--url_dataset=photos.zip", "--num_epochs=2", *SMALL)
    assert again.returncode == 0
    assert "is finished after 2 epochs" in again.stdout
    assert (folder / "checkpoints/last/checkpoint.json").read_text() == before


def test_other_shaping_options_are_refused(run: Run, folder: Path) -> None:
    refused = run("--url_dataset=photos.zip", "--num_epochs=2", *SMALL, "--learning_rate=0.01")
    assert refused.returncode == 2
    assert "learning_rate: 0.08 then, 0.01 now" in refused.stderr


def test_eval_gives_the_metrics_of_the_run(run: Run, folder: Path) -> None:
    done = run("--mode=eval", "--run_name=small", "--batch_size=4")
    assert done.returncode == 0, done.stderr
    evaluated = json.loads((folder / "metrics_eval.json").read_text())
    assert evaluated["AP"] == pytest.approx(json.loads((folder / "metrics.json").read_text())["AP"], abs=1e-6)


def test_all_three_forms_detect_the_same(run: Run, folder: Path, home: Path) -> None:
    picture = home / "photo.png"
    _write_noise(picture)
    found = {}
    for name, options in {
        "checkpoint": ["--run_name=small"],
        "saved_model": [f"--saved_model_dir={folder}/export/saved_model"],
        "frozen": [f"--saved_model_dir={folder}/export/efficientdet-lite0_frozen.pb"],
    }.items():
        common = (f"--input_image={picture}", f"--output_image_dir=out_{name}", "--min_score_thresh=0.4")
        done = run("--mode=infer", *options, *common)
        assert done.returncode == 0, done.stderr
        assert (home / f"out_{name}" / "photo.png").is_file()
        assert re.search(r"photo\.png: nothing found above 0\.4 \(best: \w+ 0\.\d\d\)$", done.stdout, re.MULTILINE)
        assert "a lower --min_score_thresh keeps more" in done.stdout
        results = json.loads((home / f"out_{name}" / "detections_coco.json").read_text())
        assert {each["image_id"] for each in results} == {"photo"}
        (image,) = json.loads((home / f"out_{name}" / "detections.json").read_text())
        found[name] = [[*each["box"].values(), each["score"], each["class_id"]] for each in image["detections"]]
    assert found["checkpoint"]
    np.testing.assert_allclose(found["saved_model"], found["checkpoint"], atol=2e-3)
    np.testing.assert_allclose(found["frozen"], found["checkpoint"], atol=2e-3)


def test_infer_detects_the_classes_that_are_asked_for(run: Run, folder: Path, home: Path) -> None:
    picture = home / "photo.png"
    _write_noise(picture)
    common = (f"--saved_model_dir={folder}/export/saved_model", f"--input_image={picture}")
    done = run("--mode=infer", *common, "--output_image_dir=out_classes", "--classes=star,1")
    assert done.returncode == 0, done.stderr
    assert "Detecting these classes only: 1 circle, 3 star" in done.stdout
    (image,) = json.loads((home / "out_classes" / "detections.json").read_text())
    assert {each["class_name"] for each in image["detections"]} == {"circle", "star"}
    wrong = run("--mode=infer", *common, "--output_image_dir=out_wrong", "--classes=stars")
    assert wrong.returncode == 2
    assert "classes must name classes of the detector. Received 'stars'; known: 1 circle, 2 square" in wrong.stderr


def test_freeze_model_exports_as_the_old_script_did(run: Run, folder: Path, home: Path) -> None:
    done = run(
        f"--path_ckpt={folder}/checkpoints/best",
        f"--path_yaml={folder}/export/hparams_config.yaml",
        "--path_output=frozen",
        "--model_name_=efficientdet-lite0",
        script="freeze_model.py",
    )
    assert done.returncode == 0, done.stderr
    assert (home / "frozen/saved_model/saved_model.pb").is_file()
    assert (home / "frozen/efficientdet-lite0_frozen.pb").is_file()


def test_inspect_draws_samples(run: Run, folder: Path, home: Path) -> None:
    done = run("--run_name=small", "--samples=3", "--save_samples_dir=seen", script="tfrmod/inspect_tfrecords.py")
    assert done.returncode == 0, done.stderr
    seen = {path.name for path in (home / "seen").iterdir()}
    assert {"sample0.jpg", "sample1.jpg", "sample2.jpg", "raw.png", "augmented.png", "index.html"} <= seen
    assert "train: 15 images" in done.stdout
    assert "val: 3 images" in done.stdout


def test_more_epochs_extend_the_run_from_shards(run: Run, folder: Path) -> None:
    done = run("--url_dataset=photos.zip", "--num_epochs=3", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Resuming after 2 epochs" in done.stdout
    assert json.loads((folder / "checkpoints/last/checkpoint.json").read_text())["epoch"] == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_asked_to_stop_it_saves_and_goes_on_later(
    number: signal.Signals, code: int, start: Start, run: Run, photos: Path, home: Path, small_network: str
) -> None:
    name = f"stopped_{number.name}"
    options = ["--url_dataset=photos.zip", "--num_epochs=40", *SMALL[:-1], f"--run_name={name}", "--mode=train"]
    options.append(small_network)
    process = start(*options)
    for line in process.stdout:
        if line.startswith("epoch 1/40:"):  # Its end; a line within an epoch goes on with its step.
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "The same command resumes from it" in errors
    marker = json.loads((home / "runs" / name / "checkpoints/last/checkpoint.json").read_text())
    assert 3 <= marker["step"] < 120
    if number is signal.SIGTERM:
        done = run(*options[:1], "--num_epochs=4", *options[2:])
        assert done.returncode == 0, done.stderr
        assert "Resuming after" in done.stdout or "is finished" in done.stdout


def _write_noise(path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))


def test_serve_answers_until_sigterm(start: Start, folder: Path) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'efficientdet-pipeline[serve]'")
    process = start("--mode=serve", f"--saved_model_dir={folder}/export", "--port=0", "--min_score_thresh=0")
    try:
        lines = iter(process.stdout.readline, "")
        url = next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+/", line)))
        image = (folder / "pictures" / "validation.png").read_bytes()
        with urllib.request.urlopen(urllib.request.Request(f"{url}predict", image), timeout=60) as answer:
            assert json.load(answer)["detections"]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert "Stopped by SIGTERM, after the requests in progress." in out
