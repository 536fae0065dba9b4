"""Report contents from a run's folder."""

import json
from pathlib import Path

import pytest

from efficientdet_pipeline.report.page import report_page
from efficientdet_pipeline.report.run_contents import run_contents
from efficientdet_pipeline.runs.run_dir import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = tmp_path / "<toy>"
    (folder / "pictures").mkdir(parents=True)
    return RunFolder(folder, folder / "export", folder / "tfrecords", folder)


def test_run_contents_of_a_folder_that_is_just_started(run: RunFolder) -> None:
    contents = run_contents(run)
    assert (contents.title, contents.subtitle) == ("Run <toy>", "no epoch is finished yet")
    assert [*contents.facts, *contents.charts, *contents.pictures, *contents.exports] == []
    assert "<h1>Run &lt;toy&gt;</h1>" in report_page(contents)


def test_run_contents_of_a_run_under_way(run: RunFolder) -> None:
    described = {
        "model_name": "efficientdet-d0",
        "url": "x.zip",
        "epochs": 4,
        "train_batch_size": 8,
        "number_of_images": {"total": 12, "train": 10, "val": 2, "test": 0},
        "label_map": {"1": "cat", "2": "<b>"},
    }
    run.metadata.write_text(json.dumps(described))
    run.args.write_text("seed: 3\noptimizer: sgd\n")
    (run.path / "results.csv").write_text("epoch,seconds,loss,AP\n1,60,2.5,0.1\n2,60,1.5,0.2\n")
    (run.path / "pictures" / "validation.png").write_bytes(b"\x89PNG")
    (run.export_path / "saved_model").mkdir(parents=True)
    (run.export_path / "saved_model" / "saved_model.pb").write_bytes(b"12345")
    (run.export_path / "model.tflite").write_bytes(b"123")
    (run.export_path / "notes.txt").write_text("no model")
    contents = run_contents(run)
    facts = dict(contents.facts)
    assert facts["Network"] == "efficientdet-d0"
    assert facts["Images"] == "12 total, 10 train, 2 val"
    assert (facts["Classes"], facts["Seed"], facts["Optimizer"]) == ("cat, <b>", "3", "sgd")
    assert contents.subtitle == "epoch 2 of 4, about 2 min left"
    assert [chart.title for chart in contents.charts] == ["Loss", "Average precision"]
    assert [picture.title for picture in contents.pictures] == ["Ground truth and predictions of validation images"]
    assert [(row.file, row.num_bytes) for row in contents.exports] == [("model.tflite", 3), ("saved_model", 5)]
    page = report_page(contents, refresh_seconds=5)
    assert "not checked" in page
    assert "cat, &lt;b&gt;" in page


def test_run_contents_of_exports_beside_the_checkpoint(run: RunFolder) -> None:
    run.metadata.write_text('{"model_name": "efficientdet-d0"}')
    run.export_path.mkdir()
    for name in ("efficientdet-d0_frozen.pb", "efficientdet-d0_openvino.xml", "efficientdet-d0_openvino.bin"):
        (run.export_path / name).write_bytes(b"12345")

    def entry(name: str, drop: float, **more: object) -> dict[str, object]:
        return {"name": name, "score": 0.5 - drop, "drop": drop, "max_drop": 0.005, "is_within": drop < 0.005, **more}

    artifacts = [
        entry("frozen", 0.0, per_class={"cat": 0.6, "dog": 0.4}),
        entry("tflite_int8", 0.1),
        entry("tflite_nms (stretched)", 0.2, max_drop=1.0, is_within=True),
    ]
    report = {"score": 0.5, "milliseconds": 9.0, "per_class": {"cat": 0.7, "dog": 0.3}, "artifacts": artifacts}
    (run.export_path / "report.json").write_text(json.dumps(report))
    contents = run_contents(run)
    assert [(row.name, row.num_bytes, row.ap, row.check) for row in contents.exports] == [
        ("checkpoint", 0, 0.5, "the trained network"),
        ("frozen", 5, 0.5, "AP +0.0000 against the checkpoint, within the limit of 0.005"),
        ("openvino", 10, None, ""),
        ("tflite_int8", 0, 0.4, "AP -0.1000 against the checkpoint, beyond the limit of 0.005; not kept"),
        ("tflite_nms (stretched)", 0, 0.3, "AP -0.2000 against the checkpoint"),
    ]
    page = report_page(contents)
    assert "AP of each class:" in page
    assert page.count('<td class="number">0.700</td>') == 1


def test_run_contents_of_files_that_are_half_written(run: RunFolder) -> None:
    run.metadata.write_text('{"model_name": "effic')
    run.args.write_text("seed: [")
    (run.path / "results.csv").write_text('epoch,loss\n1,"2')
    assert run_contents(run).facts == []
