"""Report of a training: figures at its start, thresholds before its export, the report at its end."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.data.image_descriptions import AugmentedImage
from efficientdet_pipeline.doctor.issue import Issue, Severity
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation, read_evaluation, saved_evaluation
from efficientdet_pipeline.evaluation.thresholds import read_best_thresholds
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.report import run_report
from efficientdet_pipeline.report.evaluation_folder import EvaluationFolder, analyse_evaluation
from efficientdet_pipeline.report.run_page import run_commands, run_page_contents, write_run_page
from efficientdet_pipeline.report.run_report import RunReport
from efficientdet_pipeline.runs.ownership import _foreign
from efficientdet_pipeline.runs.run_dir import RunFolder
from tfrmod.example import decode_example
from tfrmod.tfrecord_io import read_records

NAMES = {1: "circle", 2: "square", 3: "star", 4: "triangle"}


@pytest.fixture
def run(copied_run: Path) -> RunFolder:
    return RunFolder(copied_run, copied_run / "export", copied_run / "tfrecords", copied_run)


def evaluation_of(folder: Path) -> SavedEvaluation:
    """Returns an evaluation in which half of the objects are found, with one false positive."""
    files = sorted((folder / "tfrecords").glob("val-*"))
    truth, found = [], []
    for image in (decode_example(record) for file in files for record in read_records(file)):
        boxes = np.array([each.box for each in image.objects]).reshape(-1, 4)
        ids = np.array([each.class_id for each in image.objects], int)
        truth.append(TruthImage(image.source_id, boxes, ids, file_name=image.filename))
        stray = np.concatenate([boxes[::2], [[0.0, 0.0, 9.0, 9.0]]])
        scores = np.linspace(0.9, 0.5, len(stray))
        found.append(ImageDetections(stray, scores, np.append(ids[::2], 1), source_id=image.source_id))
    facts = {"checkpoint": "the best checkpoint", "epoch": 1}
    return saved_evaluation((truth, found), NAMES, shards=[str(file) for file in files], facts=facts)


def test_begin_draws_labels_and_the_first_batch(run: RunFolder) -> None:
    report = RunReport()
    issue = Issue(code="x", severity=Severity.WARNING, title="a box", count=3, files=("a.jpg",), why="It hurts.")
    report._issues = [issue]
    batch = [AugmentedImage(np.zeros((20, 30, 3), np.uint8), np.array([[1.0, 2, 9, 9]]), np.array([1]))]
    report.begin(run, [str(path) for path in (run.path / "tfrecords").glob("train-*")], batch, NAMES)
    for name in ("labels.jpg", "train_batch0.jpg"):
        assert (run.path / name).read_bytes()[:2] == b"\xff\xd8"
    (kept,) = json.loads((run.report / "findings.json").read_text())
    assert (kept["severity"], kept["title"]) == ("warning", "3 × a box")
    assert kept["detail"] == "It hurts. For example a.jpg."
    assert "3 × a box" in write_run_page(run).read_text()


def test_analyse_writes_thresholds_before_the_page(run: RunFolder) -> None:
    saved, folder = evaluation_of(run.path), EvaluationFolder(run.path)
    write = RunReport().analyse(run, saved, "auto")
    assert folder.thresholds == run.thresholds
    assert read_best_thresholds(run.thresholds).overall is not None
    assert "found_without_truth" in folder.label_errors.read_text()
    assert not (run.report / "index.html").exists()
    page = write().read_text()
    assert page.count("data:image/jpeg") >= len(saved.instances.source_ids)
    assert "the best checkpoint" in page
    names = {path.name for path in run.path.iterdir()}
    assert {"confusion_matrix.png", "pr_curve.png", "f1_curve.png", "label_errors.jpg"} <= names
    assert {"val_batch0_labels.jpg", "val_batch0_pred.jpg"} <= names
    assert not list(_foreign(run.path))


def test_write_run_page_again_gives_the_same_page(run: RunFolder) -> None:
    first = RunReport().analyse(run, evaluation_of(run.path), "auto")().read_bytes()
    assert write_run_page(run).read_bytes() == first
    again = analyse_evaluation(read_evaluation(EvaluationFolder(run.path).saved))
    assert again.analysis.metrics == analyse_evaluation(evaluation_of(run.path)).analysis.metrics


def test_run_page_without_its_shards_says_so(run: RunFolder) -> None:
    RunReport().analyse(run, evaluation_of(run.path), "auto")()
    shutil.rmtree(run.path / "tfrecords")
    contents = run_page_contents(run)
    assert not contents.gallery
    assert contents.warnings == [
        "The evaluated images are missing from their original location, so the gallery is empty."
    ]


def test_run_commands_repeat_what_was_given(run: RunFolder) -> None:
    run.args.write_text("mode: traineval\nurl_dataset: a b.zip\nnum_epochs: 3\naugment: false\nrun_name: x\n")
    lines = {each.purpose: each.line for each in run_commands(run)}
    (training,) = [line for purpose, line in lines.items() if purpose.startswith("Train")]
    assert training.endswith("--mode=traineval '--url_dataset=a b.zip' --noaugment --num_epochs=3 --run_name=again"), (
        training
    )
    assert any(line.endswith(f"--mode=report --model_dir={run.path}") for line in lines.values())


def test_label_pictures_take_a_part_of_many_records(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(path) for path in (run.path / "tfrecords").glob("train-*")]
    boxes, class_ids = run_report._sampled_boxes(files)
    assert len(boxes) == len(class_ids) > 0
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    monkeypatch.setattr(run_report, "MAX_RECORDS", 2)
    assert 0 < len(run_report._sampled_boxes(files)[0]) < len(boxes)


def test_with_warning_never_ends_a_training(caplog: pytest.LogCaptureFixture) -> None:
    from efficientdet_pipeline.training.reporting import with_warning

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.WARNING):
        assert with_warning("The report", fail) is None
        assert with_warning("The report", lambda: 7) == 7
    (message,) = caplog.messages
    assert message.startswith("The report cannot be written: ")
    assert "--mode=report" in message
