"""--mode=eval: subject, data, and locations of the files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.evaluated_detector import find_detector
from efficientdet_pipeline.evaluation.evaluation_shards import evaluation_shards
from efficientdet_pipeline.evaluation.ground_truth import ground_truth
from efficientdet_pipeline.evaluation.thresholds import read_best_thresholds
from efficientdet_pipeline.evaluation.views import View
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.runs.ownership import _foreign
from tfrmod.example import decode_example
from tfrmod.tfrecord_io import read_records

Main = Callable[..., int]
Said = Callable[[], Any]


def val_images(folder: Path) -> list[Any]:
    files = sorted((folder / "tfrecords").glob("val-*"))
    return [decode_example(record) for file in files for record in read_records(file)]


def write_detections(path: Path, folder: Path, key: Callable[[Any], Any]) -> Path:
    """Writes the ground truth as detections; `key` gives the image_id."""
    rows = []
    for image in val_images(folder):
        for thing in image.objects:
            y0, x0, y1, x1 = thing.box
            box = [x0, y0, x1 - x0, y1 - y0]
            rows.append({"image_id": key(image), "category_id": thing.class_id, "bbox": box, "score": 0.9})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def test_eval_says_how_to_name_runs_and_exports(main: Main, copied_run: Path, said: Said) -> None:
    assert main("--mode=eval", f"--saved_model_dir={copied_run}") == 2
    assert "neither a SavedModel nor files" in (text := said().err)
    assert "for a run or a checkpoint use --path_ckpt." in text
    (copied_run / "export/saved_model").mkdir(parents=True, exist_ok=True)
    (copied_run / "export/saved_model/saved_model.pb").touch()
    assert main("--mode=eval", f"--path_ckpt={copied_run / 'export'}") == 2
    assert "which is an export; name it by --saved_model_dir" in said().err


def test_eval_of_a_run_writes_its_page_and_thresholds(main: Main, copied_run: Path, said: Said) -> None:
    assert main("--mode=eval", f"--model_dir={copied_run}", "--ap_interval", "--class_groups=a=star,square;b=1") == 0
    out = said().out
    assert "VOC07_AP50" in out
    assert "95 % confidence intervals" in out
    assert "\na: AP" in out
    assert "ms per image" in out
    metrics = json.loads((copied_run / "metrics_eval.json").read_text())
    assert {"AP", "VOC12_AP50", "milliseconds", "intervals", "checkpoint", "per_class_AP50"} <= metrics.keys()
    assert (copied_run / "report" / "index.html").is_file()
    assert "its validation images" in (copied_run / "report" / "index.html").read_text()
    read_best_thresholds(copied_run / "thresholds.yaml")
    before = (copied_run / "report" / "index.html").read_bytes()
    # An evaluation with other data or another name does not replace that of the run.
    pattern = f"--val_file_pattern={copied_run}/tfrecords/train-*"
    assert main("--mode=eval", f"--model_dir={copied_run}", pattern) == 0
    assert (copied_run / "report" / "index.html").read_bytes() == before
    assert (copied_run / "evaluations" / "eval" / "report" / "index.html").is_file()
    assert not list(_foreign(copied_run))


def test_eval_of_detections_alone_joins_ids_or_file_names(
    main: Main, toy_run: Path, said: Said, tmp_path: Path
) -> None:
    images = f"--val_dataset={toy_run.parents[1] / 'images'}"
    pattern = f"--val_file_pattern={toy_run}/tfrecords/val-*"
    for key in (lambda image: image.source_id, lambda image: Path(image.filename).stem):
        path = write_detections(tmp_path / "found" / "mine.json", toy_run, key)
        assert main("--mode=eval", f"--detections_json={path}", pattern) == 0
        place = tmp_path / "found" / "evaluations" / "mine"
        assert json.loads((place / "metrics.json").read_text())["AP"] == pytest.approx(1.0)
        assert (place / "report" / "index.html").read_text().count("data:image/jpeg") >= len(val_images(toy_run))
    assert "images are joined by them" in said().out
    assert main("--mode=eval", f"--detections_json={path}") == 2
    assert "--val_dataset=images.zip" in said().err
    assert main("--mode=eval", f"--detections_json={path}", images, "--cache_dir=cache", "--noanalysis") == 0
    assert "Evaluating on the val split with 2 images" in said().out


def test_eval_does_not_replace_files_of_others(main: Main, toy_run: Path, said: Said, tmp_path: Path) -> None:
    path = write_detections(tmp_path / "mine.json", toy_run, lambda image: image.source_id)
    other = tmp_path / "evaluations" / "mine" / "thresholds.yaml"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    pattern = f"--val_file_pattern={toy_run}/tfrecords/val-*"
    assert main("--mode=eval", f"--detections_json={path}", pattern) == 2
    assert "thresholds.yaml" in said().err
    assert other.read_text() == "mine"
    assert main("--mode=eval", f"--detections_json={path}", pattern, "--eval_name=other") == 0


def test_testdev_dir_writes_a_submission(main: Main, copied_run: Path, said: Said, tmp_path: Path) -> None:
    arguments = [f"--model_dir={copied_run}", "--testdev_dir=out", "--eval_samples=2"]
    assert main("--mode=eval", *arguments) == 0
    path = tmp_path / "out" / "detections_test-dev2017_efficientdet-lite0_results.json"
    rows = json.loads(path.read_text())
    assert {row["image_id"] for row in rows} <= {int(image.source_id) for image in val_images(copied_run)}
    assert "Not all classes are COCO's" in said().err
    assert not (copied_run / "metrics_eval.json").exists()


def collected(folder: Path, **options: Any) -> tuple[Any, Any]:
    given = compose(EvalOptions, model_dir=str(folder), **options)
    detector = find_detector(given, HparamsGiven())
    shards = evaluation_shards(given, detector.run, detector.path)
    truth = ground_truth(shards.files, detector.classes)
    plain = detector.evaluator(truth, batch_size=2, members=[], shown=[View()])
    fused = detector.evaluator(truth, batch_size=2, members=[detector], shown=[View()])
    return plain.collect(), fused.collect()


def test_evaluators_see_the_same_images_and_truth(toy_run: Path) -> None:
    (truth, found), (same_truth, fused) = collected(toy_run)
    assert [image.source_id for image in truth] == [image.source_id for image in same_truth]
    for image, same in zip(truth, same_truth, strict=True):
        assert image.file_name == same.file_name != ""
        assert image.size == same.size
        np.testing.assert_array_equal(image.boxes, same.boxes)
        assert image.is_difficult is not None
        assert not image.is_difficult.any()
    # The best detection of two equal detectors is that of either one.
    for one, both in zip(found, fused, strict=True):
        assert both.source_id == one.source_id
        assert float(np.max(both.scores)) <= float(np.max(one.scores)) + 1e-6


def test_eval_names_what_is_wrong(main: Main, toy_run: Path, said: Said, tmp_path: Path) -> None:
    shutil.copytree(toy_run, tmp_path / "run")
    assert main("--mode=eval", "--model_dir=run", "--tta=up") == 2
    assert "try flip,0.8" in said().err
    assert main("--mode=eval", "--model_dir=run", "--class_groups=a=moon") == 2
    assert "where 'moon' is not a class; the classes are circle, square, star, triangle" in said().err
    assert main("--mode=eval", "--model_dir=run", "--val_dataset=x", "--val_file_pattern=y") == 2
    assert main("--mode=eval", "--saved_model_dir=nothing") == 66
    assert "The export 'nothing' does not exist" in said().err
