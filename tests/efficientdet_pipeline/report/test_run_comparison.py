"""Comparison of runs: joined by file names; different images with equal ids are kept apart."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation, saved_evaluation, write_evaluation
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.options.report import CompareOptions, ReportOptions
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.report.evaluation_folder import EvaluationFolder
from efficientdet_pipeline.report.live_page import LivePage
from efficientdet_pipeline.report.run_comparison import compare_runs, find_compared, same_images
from efficientdet_pipeline.report.serve import LiveView
from efficientdet_pipeline.runs.run_dir import RunFolder

Main = Callable[..., int]
NAMES = {1: "cat", 2: "dog"}


def evaluation(names: list[str], *, first: int = 1, found: float = 1.0) -> SavedEvaluation:
    """Returns an evaluation of images with these names, in which a share of the objects is found."""
    truth, detected = [], []
    for number, name in enumerate(names, start=first):
        size = 10.0 + int(name.strip("x.jpg"))
        boxes = np.array([[0, 0, size, size], [50, 50, 50 + size, 70]])
        truth.append(TruthImage(str(number), boxes, np.array([1, 2]), file_name=name))
        is_seen = np.array([True, int(name.strip("x.jpg")) < found * len(names)])
        scores = np.array([0.9, 0.8])[is_seen]
        detected.append(ImageDetections(boxes[is_seen], scores, np.array([1, 2])[is_seen], source_id=str(number)))
    return saved_evaluation((truth, detected), NAMES, facts={"checkpoint": "best", "milliseconds": 12.0})


FILES = [f"{number}.jpg" for number in range(12)]


def write_run(folder: Path, saved: SavedEvaluation, args: str) -> Path:
    write_evaluation(EvaluationFolder(folder).saved, saved)
    (folder / "args.yaml").write_text(args)
    (folder / "results.csv").write_text("epoch,loss\n1,2.0\n2,1.0\n")
    return folder


def test_same_images_joins_by_file_name() -> None:
    first, other = evaluation(FILES), evaluation(list(reversed(FILES)), first=100)
    joined = same_images(first, other)
    assert joined.instances.source_ids == first.instances.source_ids
    assert joined.file_names == first.file_names
    np.testing.assert_array_equal(joined.instances.truth.boxes_xywh, first.instances.truth.boxes_xywh)
    assert same_images(first, evaluation(FILES)).instances.source_ids == first.instances.source_ids


def test_same_images_keeps_other_images_of_the_same_ids_apart() -> None:
    first = evaluation(FILES)
    other = evaluation([f"x{name}" for name in FILES])
    assert other.instances.source_ids == first.instances.source_ids
    assert not set(same_images(first, other).instances.source_ids) & set(first.instances.source_ids)
    unnamed = dataclasses.replace(other, file_names={})
    assert same_images(first, unnamed) is unnamed


def test_compare_writes_numbers_options_and_differences(main: Main, tmp_path: Path, said: Any) -> None:
    write_run(tmp_path / "runs" / "a", evaluation(FILES), "num_epochs: 3\nlearning_rate: 0.1\nrun_name: a\n")
    other = evaluation(list(reversed(FILES)), first=50, found=0.5)
    write_run(tmp_path / "runs" / "b", other, "num_epochs: 3\nlearning_rate: 0.2\nrun_name: b\n")
    assert main("--mode=compare", "a", "b") == 0
    out = said().out
    assert "a  1.000  1.000" in out
    assert "b  0.752  0.752   -0.248 (" in out
    page = (tmp_path / "comparison" / "index.html").read_text()
    assert "learning_rate" in page
    assert "num_epochs" not in page
    assert "worse" in page
    assert main("--mode=compare", "--runs=a,b") == 0
    assert main("--mode=compare", "--runs=a,c") == 66
    assert "Runs in runs: a, b" in said().err
    assert main("--mode=compare", "a") == 2
    (tmp_path / "comparison" / "index.html").rename(tmp_path / "mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("mine")
    assert main("--mode=compare", "--compare_dir=other", "a", "b") == 2


def test_compare_runs_of_one_name_are_distinguished(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name / "run", evaluation(FILES), "num_epochs: 3\n") for name in "ab"]
    _, runs = compare_runs(find_compared([str(folder) for folder in folders], tmp_path), tmp_path / "out")
    assert [run.name for run in runs] == ["a/run", "b/run"]


def test_report_of_a_run_without_an_evaluation_says_how_to_make_one(main: Main, copied_run: Path, said: Any) -> None:
    assert main("--mode=report", f"--model_dir={copied_run}") == 0
    assert "--mode=eval" in said().out
    assert (copied_run / "report" / "index.html").read_text().startswith("<!DOCTYPE html>")
    from efficientdet_pipeline import report

    assert report(copied_run) == copied_run / "report" / "index.html"


def test_live_page_follows_the_run(copied_run: Path) -> None:
    run = RunFolder(copied_run, copied_run / "export", copied_run / "tfrecords", copied_run)
    page = LivePage(run, refresh_seconds=3)
    with LiveView(page, files={"log.txt": copied_run / "log.txt"}) as view:
        before = urlopen(view.url).read().decode()
        assert 'data-refresh="3"' in before
        assert "no epoch is finished yet" in before
        (copied_run / "results.csv").write_text("epoch,loss,seconds\n1,2.0,60\n")
        (copied_run / "metadata.json").write_text(json.dumps({"epochs": 3}))
        assert "epoch 1 of 3, about 2 min left" in urlopen(view.url).read().decode()
        write_evaluation(EvaluationFolder(copied_run).saved, evaluation(FILES))
        assert "Confusion matrix" in urlopen(view.url).read().decode()


def test_report_options_check_their_numbers() -> None:
    with pytest.raises(OptionsError, match="0 to 65535"):
        compose(ReportOptions, serve=True, port=70000)
    assert set(compose(ReportOptions).without_effect()) == {"port", "refresh_seconds"}
    assert compose(CompareOptions, runs=" a , b").names == ["a", "b"]
