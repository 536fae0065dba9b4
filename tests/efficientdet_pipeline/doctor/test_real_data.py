"""Known issues of real data sets are found, and suggested anchors reach the stated recall."""

import shlex
import zipfile
from pathlib import Path

import efficientdet
import pytest
from efficientdet.automl.hparams import parse_hparams

from efficientdet_pipeline.doctor import collect, run_checks
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.models import anchor_fit
from efficientdet_pipeline.models.anchor_fit import AnchorGrid
from tfrmod.convert_options import ConvertOptions
from tfrmod.workers import Workers


def look(archive: Path, folder: Path) -> DatasetStats:
    with zipfile.ZipFile(archive) as images:
        images.extractall(folder / "photos")
    (folder / "staging").mkdir()
    with Workers(1) as workers:
        return collect.annotation_stats(
            folder / "photos", ConvertOptions(), folder / "staging", workers, lambda *_: None
        )


def plan_of(size: int) -> Plan:
    return Plan(grid=AnchorGrid.of(efficientdet.get_config("efficientdet-d0", image_size=size)), max_detections=100)


@pytest.fixture(scope="module")
def bccd(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> DatasetStats:
    return look(test_data / "bccd.zip", tmp_path_factory.mktemp("bccd"))


def test_doctor_why_platelets_stay_at_0_and_what_fixes_it(bccd: DatasetStats) -> None:
    found = {each.code: each for each in run_checks.validate_dataset(bccd, plan_of(256))}["anchors_unmatched"]
    recalls = found.values["recall_per_class"]
    assert recalls["Platelets"] < 0.1
    assert recalls["RBC"] > 0.99
    (fit, *_) = found.values["remedies"]
    (flag,) = shlex.split(fit["flags"])
    assert flag.startswith("--hparams=anchor_scale=2")
    assert fit["recall"] > 0.98
    # The stated recall, checked with the network's own anchors:
    changed = parse_hparams(flag.removeprefix("--hparams="))
    config = efficientdet.get_config("efficientdet-d0", image_size=256, **changed)
    boxes = bccd.boxes.on_canvas(plan_of(256))
    platelets = boxes[bccd.boxes.name == bccd.boxes.names.index("Platelets")]
    assert anchor_fit.recall(AnchorGrid.of(config), platelets) > 0.85


def test_doctor_labels_that_were_forgotten_are_named(bccd: DatasetStats) -> None:
    found = {each.code: each for each in run_checks.validate_dataset(bccd, plan_of(512))}
    assert found["labels_missing"].count == 20  # 15 images without a red cell, and 5 without a white one.
    assert "JPEGImages/BloodImage_00134.jpg (no RBC)" in found["labels_missing"].files
    assert found["box_empty"].count == 2
    assert "anchors_unmatched" not in found


def test_doctor_plates_are_png_in_disguise_and_leak(test_data: Path, tmp_path: Path) -> None:
    found = {
        each.code: each
        for each in run_checks.validate_dataset(look(test_data / "license_plates.zip", tmp_path), plan_of(512))
    }
    assert found["format_not_as_named"].count == 46
    assert found["twins_disagree"].files == (
        "JPEGImages/dayride_type1_001.mp4#t=809.jpg (= JPEGImages/dayride_type1_001.mp4#t=558.jpg)",
    )
    assert found["leak_alike"].count >= 1
